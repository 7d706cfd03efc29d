package jobview

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/gitroost/gitroost/internal/jobs"
)

// Schema returns the JSON schema (draft 2020-12) of the answer about one job, made of View: a field that is told is a
// field that is documented.
func Schema() []byte {
	s := schemaOf(reflect.TypeFor[View]())
	s["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	s["title"] = "A job of gitroost"
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		panic(err) // maps of texts
	}
	return append(b, '\n')
}

// values are the texts that a type can have.
var values = map[reflect.Type][]string{
	reflect.TypeFor[jobs.State]():     texts(jobs.States),
	reflect.TypeFor[jobs.Trigger]():   texts(jobs.Triggers),
	reflect.TypeFor[jobs.Class]():     texts([]jobs.Class{jobs.Operator, jobs.Trusted, jobs.Untrusted}),
	reflect.TypeFor[jobs.Condition](): texts([]jobs.Condition{jobs.IfOK, jobs.IfFailed, jobs.IfAlways}),
	reflect.TypeFor[jobs.LogState]():  texts([]jobs.LogState{jobs.LogKept, jobs.LogGone}),
}

func texts[S ~string](list []S) []string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = string(s)
	}
	return out
}

func schemaOf(t reflect.Type) map[string]any {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t == reflect.TypeFor[time.Time]() {
		return map[string]any{"type": "string", "format": "date-time"}
	}
	if v, ok := values[t]; ok {
		return map[string]any{"type": "string", "enum": v}
	}
	switch t.Kind() {
	case reflect.String:
		return map[string]any{"type": "string"}
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.Int, reflect.Int64:
		return map[string]any{"type": "integer"}
	case reflect.Float64:
		return map[string]any{"type": "number"}
	case reflect.Slice:
		return map[string]any{"type": "array", "items": schemaOf(t.Elem())}
	}
	properties, required := map[string]any{}, []string{}
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		p := schemaOf(f.Type)
		p["description"] = f.Tag.Get("doc")
		properties[name] = p
		if !strings.Contains(options, "omitempty") {
			required = append(required, name)
		}
	}
	slices.Sort(required)
	return map[string]any{"type": "object", "properties": properties, "required": required, "additionalProperties": false}
}
