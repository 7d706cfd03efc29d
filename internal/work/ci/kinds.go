// Package ci says in Nostr events how jobs stand and how they ended, so that clients show it beside
// commits and proposals, and reads the events by which maintainers ask for runs (D8). It signs
// nothing, keeps nothing and starts nothing.
//
//	kinds.go    the kinds and words, all in this one file: their author calls them experimental
//	results.go  events about jobs
//	control.go  events of maintainers
package ci

// The kinds.
const (
	KindManualTrigger  = 9840 // a maintainer asks for one run
	KindJobResult      = 9841
	KindWorkflowResult = 9842
	KindServiceRequest = 9843 // a maintainer asks for runs from now on
	KindServiceStop    = 9844 // and no longer
	KindProgress       = 39842
)

// Markers of quotes.
const (
	markServiceRequest = "service-request"
	markManualTrigger  = "manual-trigger"
)

// Statuses of a Progress.
const (
	statusInProgress = "in_progress"
	statusConcluded  = "concluded"
)

// workflowPath is where a job of the configuration would lie if it were a file: results name it, and
// a Manual Trigger says it.
const workflowPath = "gitroost/jobs/"
