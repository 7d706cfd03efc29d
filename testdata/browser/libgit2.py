"""One visit with libgit2, the engine of the official client. Prints one JSON object.

    libgit2.py commit <folder> <file> <text>      -> {"commit": oid}
    libgit2.py push <folder> <url> <refspec>      -> {"ok": true} or {"error": …, "rejected": …, "said": …}
    libgit2.py clone <url> <folder> [<branch>]    -> {"head": oid, "branch": …, "files": […], "progress": n}
"""

import json
import os
import sys

import pygit2


class Callbacks(pygit2.RemoteCallbacks):
    """Notes what the server says."""

    def __init__(self):
        super().__init__()
        self.said, self.rejected, self.progress = [], {}, 0

    def sideband_progress(self, string):
        self.said.append(string)

    def push_update_reference(self, refname, message):
        if message is not None:
            self.rejected[refname] = message

    def transfer_progress(self, stats):
        self.progress += 1


def commit(folder, name, text):
    if not os.path.exists(folder):
        pygit2.init_repository(folder, initial_head="main")
    repo = pygit2.Repository(folder)
    with open(os.path.join(folder, name), "w") as f:
        f.write(text)
    repo.index.add(name)
    repo.index.write()
    alice = pygit2.Signature("Alice", "alice@example.com")
    parents = [] if repo.head_is_unborn else [repo.head.target]
    oid = repo.create_commit("HEAD", alice, alice, "change", repo.index.write_tree(), parents)
    return {"commit": str(oid)}


def push(folder, url, refspec):
    seen = Callbacks()
    repo = pygit2.Repository(folder)
    known = [r.name for r in repo.remotes]
    remote = repo.remotes["origin"] if "origin" in known else repo.remotes.create("origin", url)
    result = {"ok": True}
    try:
        remote.push([refspec], callbacks=seen)
    except pygit2.GitError as err:
        result = {"ok": False, "error": str(err)}
    return {**result, "rejected": seen.rejected, "said": "".join(seen.said)}


def clone(url, folder, branch=None):
    seen = Callbacks()
    try:
        repo = pygit2.clone_repository(url, folder, callbacks=seen, checkout_branch=branch)
    except (pygit2.GitError, KeyError) as err:
        return {"error": str(err)}
    if repo.is_empty:
        return {"head": None, "files": []}
    return {
        "head": str(repo.head.target),
        "branch": repo.head.shorthand,
        "files": sorted(e.path for e in repo.index),
        "progress": seen.progress,
    }


if __name__ == "__main__":
    deeds = {"commit": commit, "push": push, "clone": clone, "version": lambda: {"libgit2": pygit2.LIBGIT2_VERSION}}
    print(json.dumps(deeds[sys.argv[1]](*sys.argv[2:])))
