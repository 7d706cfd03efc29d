//go:build !linux

package doctor

func remoteFiles(string) string { return "" }

func space(string) (free, files int64, known bool) { return 0, 0, false }

func clockSynced() (synced, known bool) { return false, false }

func openFiles() (uint64, bool) { return 0, false }

func controlGroups() string { return "this system has none" }
