// Package grasp is the rules of the GRASP protocol: which Nostr events a git server accepts, who
// may move which ref, and what must happen for events and repositories to agree.
//
// It is pure. It knows no clock, no disk, no network and no log; it is given values and returns
// values, so that a table, a property or a fuzzer can prove it, and so that a client or another
// server can use it.
//
// Four questions are asked of it:
//
//   - [View.AdmitAnnouncement], [View.AdmitState], [AdmitPull]: may this event enter, and on which
//     shelf does it rest?
//   - [View.CheckPush]: may this push move these refs?
//   - [Moderation.Event], [Moderation.Repo]: what has the operator against it?
//   - [View.Plan]: which refs must move, and which events become visible, now that all this is known?
//
// All questions about one repository are answered from one [View] of one identifier, because the
// maintainers of several owners share it and one state may speak for several repositories. The
// package never looks anything up: [View.Wants] says which objects it has to know about, the
// caller finds out which are complete, and [View.Plan] takes the answer.
//
// Identifiers such as G01-501 name the requirement that a line keeps.
package grasp
