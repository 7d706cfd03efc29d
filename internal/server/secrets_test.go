package server_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gitroost/gitroost/internal/config"
	"github.com/gitroost/gitroost/internal/server"
	"github.com/gitroost/gitroost/internal/work"
)

// S0-08, jobs.md 3.11: a secret is in a file that nobody else can read, in a variable of the server or
// among systemd's credentials; anything else is said before a job needs it.
func TestSecretsAreWhereTheyAreSafe(t *testing.T) {
	dir := t.TempDir()
	file := func(name, content string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	file("credential", "hush", 0o400)
	t.Setenv("CREDENTIALS_DIRECTORY", dir)
	t.Setenv("A_SECRET_OF_THIS_TEST", "hush")
	for _, c := range []struct {
		ref  work.SecretRef
		want string // of the fault; "" for none
	}{
		{work.SecretRef{File: file("private", "hush\n", 0o600)}, ""},
		{work.SecretRef{File: file("read-only", "hush", 0o400)}, ""},
		{work.SecretRef{File: file("group", "hush", 0o640)}, "can be read by others (mode 0640): chmod 600"},
		{work.SecretRef{File: file("world", "hush", 0o604)}, "can be read by others"},
		{work.SecretRef{File: file("empty", "\n", 0o600)}, "is empty"},
		{work.SecretRef{File: file("large", strings.Repeat("x", 64<<10+1), 0o600)}, "larger than 64 KiB"},
		{work.SecretRef{File: filepath.Join(dir, "nowhere")}, "no such file"},
		{work.SecretRef{File: dir}, "is not a file"},
		{work.SecretRef{Env: "A_SECRET_OF_THIS_TEST"}, ""},
		{work.SecretRef{Env: "NOT_A_SECRET_OF_THIS_TEST"}, "is empty"},
		{work.SecretRef{Credential: "credential"}, ""},
		{work.SecretRef{Credential: "../credential"}, "is not a name"},
		{work.SecretRef{Credential: "nowhere"}, "no such file"},
	} {
		wrong := server.CheckSecrets(config.Config{Secrets: map[string]config.SecretSource{"s": {SecretRef: c.ref}}})
		err, bad := wrong["s"]
		if bad != (c.want != "") || bad && (!strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "hush")) {
			t.Errorf("%+v: %v, want %q", c.ref, err, c.want)
		}
	}
}
