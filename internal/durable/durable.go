// Package durable makes files and folders that are there whole or not at all, also after a power
// cut. What it reported as done is on the disk.
//
// It refuses to know what the files hold. Its means are few: write beside, fsync, rename, fsync
// the folder. Names ending in TempSuffix are its unfinished work; whoever owns a folder may remove
// those that a dead process left behind.
package durable

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// TempSuffix ends the names of files that are being written.
const TempSuffix = ".part"

// WriteFile makes path hold data, whole. What it held before stays until then.
func WriteFile(path string, data []byte, perm fs.FileMode) error {
	f, err := Create(path, perm)
	if err != nil {
		return err
	}
	defer f.Discard()
	if _, err := f.Write(data); err != nil {
		return err
	}
	return f.Commit()
}

// A File is being written, and takes its place only when it is whole. Use it from one goroutine.
type File struct {
	f          *os.File
	temp, path string
	done       bool
}

// Create begins to write what shall become path. End it with Commit or Discard.
func Create(path string, perm fs.FileMode) (*File, error) {
	var b [8]byte
	rand.Read(b[:])
	temp := path + "." + hex.EncodeToString(b[:]) + TempSuffix
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm)
	if err != nil {
		return nil, err
	}
	return &File{f: f, temp: temp, path: path}, nil
}

// Lock is Create with the name path+".lock" for the unfinished file: the way git locks its own
// files. While it is there nobody who follows that custom changes path. The error is fs.ErrExist
// while somebody else holds it.
func Lock(path string, perm fs.FileMode) (*File, error) {
	temp := path + ".lock"
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm)
	if err != nil {
		return nil, err
	}
	return &File{f: f, temp: temp, path: path}, nil
}

// Write adds b.
func (f *File) Write(b []byte) (int, error) { return f.f.Write(b) }

// Name returns where the unfinished file is.
func (f *File) Name() string { return f.temp }

// Place puts the file into its place: whoever opens path sees it whole. It survives a crash of the
// machine only after SyncDir of its folder; Commit does both. After an error nothing has changed.
func (f *File) Place() error {
	if f.done {
		return fs.ErrClosed
	}
	if err := f.f.Sync(); err != nil {
		return err
	}
	if err := f.f.Close(); err != nil {
		return err
	}
	if err := os.Rename(f.temp, f.path); err != nil {
		return err
	}
	f.done = true
	return nil
}

// Commit puts the file into its place, for good. After an error it may be there or not.
func (f *File) Commit() error {
	if err := f.Place(); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(f.path))
}

// Discard forgets the file unless it is in its place. It may be called at any time, and twice.
func (f *File) Discard() {
	if f.done {
		return
	}
	f.done = true
	f.f.Close()
	os.Remove(f.temp)
}

// SyncDir makes the names in a folder as they are now survive a crash of the machine.
func SyncDir(path string) error { return syncPath(path) }

// SyncFile does so for what a file holds, whoever wrote it.
func SyncFile(path string) error { return syncPath(path) }

func syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	// Some file systems cannot sync folders and say so; there is nothing more to be done there.
	if err := f.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) {
		return err
	}
	return nil
}

// Rename moves a file or a folder on one volume, for good.
func Rename(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	if err := SyncDir(filepath.Dir(to)); err != nil {
		return err
	}
	if filepath.Dir(from) == filepath.Dir(to) {
		return nil
	}
	return SyncDir(filepath.Dir(from))
}

// MkdirAll makes a folder and those above it that are missing, for good.
func MkdirAll(path string, perm fs.FileMode) error {
	fi, err := os.Stat(path)
	if err == nil {
		if !fi.IsDir() {
			return &fs.PathError{Op: "mkdir", Path: path, Err: syscall.ENOTDIR}
		}
		return nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	parent := filepath.Dir(path)
	if parent == path {
		return err
	}
	if err := MkdirAll(parent, perm); err != nil {
		return err
	}
	// Somebody else may have made it since. Its parent is synced all the same: that somebody
	// may not have come to it yet.
	if err := os.Mkdir(path, perm); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return SyncDir(parent)
}

// Symlink makes link point to target, replacing what link pointed to before: at no moment is there
// none. target is written as it is; a relative one survives a move of the tree.
func Symlink(target, link string) error {
	var b [8]byte
	rand.Read(b[:])
	temp := link + "." + hex.EncodeToString(b[:]) + TempSuffix
	if err := os.Symlink(target, temp); err != nil {
		return err
	}
	if err := os.Rename(temp, link); err != nil {
		os.Remove(temp)
		return err
	}
	return SyncDir(filepath.Dir(link))
}
