"""The life of a merge request, told by python-gitlab and git against a forge that should be GitLab.

Reads one JSON object on standard input (url, tier, hook, and the owner's, developer's and stranger's username, id and
token), and ends with an assertion, or with one line that says what was done.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

import gitlab

WRONG_COMMIT = "0" * 40


def main(world):
    owner = sign_in(world, "owner")
    developer = sign_in(world, "developer")
    project = set_up(owner, world)
    with tempfile.TemporaryDirectory() as folder:
        clone = Clone(folder, project.http_url_to_repo, world["developer"])
        review(owner.projects.get(project.id), developer.projects.get(project.id), clone, world)
        land(owner.projects.get(project.id), developer.projects.get(project.id), clone, world)
    issues(developer.projects.get(project.id))
    print("told to the end on", world["tier"])


def sign_in(world, who):
    client = gitlab.Gitlab(world["url"], private_token=world[who]["token"])
    client.auth()
    equal(client.user.username, world[who]["username"], "the user of the token")
    return client


def set_up(owner, world):
    """A group, a project in it, its members, its protected branch, its hook."""
    group = owner.groups.create({"name": "Platform", "path": "platform"})
    project = owner.projects.create(
        {"name": "requests", "namespace_id": group.id, "initialize_with_readme": True}
    )
    equal(project.path_with_namespace, "platform/requests", "where the project is")
    equal(owner.projects.get("platform/requests").id, project.id, "the project by its path")
    equal(project.default_branch, "main", "the default branch")

    developer, stranger = world["developer"]["id"], world["stranger"]["id"]
    project.members.create({"user_id": developer, "access_level": gitlab.const.AccessLevel.DEVELOPER})
    equal(project.members_all.get(developer).access_level, 30, "a direct member")
    equal(project.members_all.get(world["owner"]["id"]).access_level, 50, "an inherited member")
    refused(404, lambda: project.members_all.get(stranger))
    refused(404, lambda: sign_in(world, "stranger").projects.get(project.id))
    # The developer sees the private group, being in one of its projects, but not who is in it.
    seen = sign_in(world, "developer").groups.get(group.id)
    refused(403, lambda: seen.members_all.get(developer))

    # GitLab protects the default branch by itself: it is protected anew, with rules of our own.
    equal([rule.name for rule in project.protectedbranches.list(get_all=True)], ["main"], "what is protected")
    project.protectedbranches.delete("main")
    rule = project.protectedbranches.create(
        {"name": "main", "push_access_level": 40, "merge_access_level": 40, "allow_force_push": False}
    )
    equal(rule.push_access_levels[0]["access_level"], 40, "who may push")

    hook = project.hooks.create(
        {
            "url": world["hook"],
            "token": "secret",
            "push_events": True,
            "tag_push_events": True,
            "merge_requests_events": True,
            "note_events": True,
            "issues_events": True,
            "confidential_issues_events": True,
        }
    )
    assert not hasattr(hook, "token"), "a hook does not tell its secret"
    equal([known.url for known in project.hooks.list(get_all=True)], [world["hook"]], "the hooks")
    return project


def review(owned, project, clone, world):
    """A push opens a merge request; comments, statuses, versions, approvals."""
    clone.git("checkout", "--quiet", "-b", "database")
    first = clone.commit("requests/database.yaml", "size: small\n", "Ask for a database")
    said = clone.git(
        "push",
        "--push-option=merge_request.create",
        "--push-option=merge_request.title=A database",
        "--push-option=merge_request.target=main",
        "origin",
        "database",
    )
    assert "/-/merge_requests/1" in said, f"git does not print the address: {said}"
    (opened,) = project.mergerequests.list(state="opened", get_all=True)
    mine = project.mergerequests.get(opened.iid)
    equal((mine.title, mine.sha, mine.author["username"]), ("A database", first, "dev"), "what the push opened")
    equal(mine.detailed_merge_status, "mergeable", "whether it can be merged")
    theirs = owned.mergerequests.get(mine.iid)

    note = mine.notes.create({"body": "/landfall plan"})
    note.body = "/landfall plan please"
    note.save()
    equal(
        [one.body for one in mine.notes.list(get_all=True) if not one.system], [note.body], "the comments"
    )
    equal(mine.notes.get(note.id).author["username"], "dev", "who commented")

    commit = owned.commits.get(mine.sha)
    commit.statuses.create({"state": "running", "name": "landfall", "ref": "database"})
    refused(400, lambda: commit.statuses.create({"state": "pending", "name": "landfall", "ref": "database"}))
    commit.statuses.create({"state": "success", "name": "landfall", "ref": "database", "description": "fine"})
    equal(
        [(one.name, one.status, one.description) for one in commit.statuses.list(get_all=True)],
        [("landfall", "success", "fine")],
        "the statuses",
    )

    refused(409, lambda: theirs.approve(WRONG_COMMIT))
    theirs.approve(mine.sha)
    refused(401, lambda: theirs.approve(mine.sha))
    equal(approvers(theirs), ["olga"], "who approved")
    theirs.unapprove()
    equal(approvers(theirs), [], "who approved after all")
    theirs.approve()

    second = clone.commit("requests/database.yaml", "size: large\n", "Ask for more")
    clone.git("push", "--quiet", "origin", "database")
    equal(
        [version.head_commit_sha for version in theirs.diffs.list(get_all=True)], [second, first], "the versions"
    )
    version = theirs.diffs.get(theirs.diffs.list(get_all=True)[0].id)
    equal([diff["new_path"] for diff in version.diffs], ["requests/database.yaml"], "the files of a version")
    equal([one.title for one in theirs.commits()], ["Ask for more", "Ask for a database"], "the commits")
    kept = {"free": ["olga"], "premium": []}[world["tier"]]
    equal(approvers(theirs), kept, "the approvals after a push")
    if not kept:
        theirs.approve()

    # Other eyes: another title, another target and back, closed and opened again.
    owned.branches.create({"branch": "later", "ref": "main"})
    for changes in (
        {"title": "Draft: A database"},
        {"title": "A large database", "target_branch": "later"},
        {"target_branch": "main"},
        {"state_event": "close"},
        {"state_event": "reopen"},
    ):
        project.mergerequests.update(mine.iid, changes)
    equal(project.mergerequests.get(mine.iid).state, "opened", "the state at the end")


def land(owned, project, clone, world):
    """A wrong guard is refused, the right one merges, and everything can be found again."""
    refused(401, lambda: project.mergerequests.get(1).merge())
    theirs = owned.mergerequests.get(1)
    refused(409, lambda: theirs.merge(sha=WRONG_COMMIT))
    equal(owned.mergerequests.get(1).state, "opened", "the state after a wrong guard")
    theirs.merge(sha=theirs.sha)
    merged = owned.mergerequests.get(1)
    equal((merged.state, merged.merge_user["username"]), ("merged", "olga"), "the merge")
    refused(405, lambda: merged.merge(sha=merged.sha))
    equal(owned.branches.get("main").commit["id"], merged.merge_commit_sha, "the head of main")
    for commit in (merged.merge_commit_sha, merged.sha):
        found = owned.commits.get(commit).merge_requests()
        equal([one["iid"] for one in found], [1], "the merge requests of a commit")
    since = owned.mergerequests.list(state="merged", updated_after=merged.created_at, get_all=True)
    equal([one.iid for one in since], [1], "what was merged since")

    file = owned.files.get("requests/database.yaml", ref="main")
    equal(file.decode(), b"size: large\n", "the file on main")
    equal(owned.files.raw("requests/database.yaml", ref=merged.sha), b"size: large\n", "the file as it is")
    refused(404, lambda: owned.files.get("absent", ref="main"))
    written = owned.commits.create(
        {
            "branch": "main",
            "commit_message": "Tidy up",
            "actions": [
                {"action": "create", "file_path": "landfall.yaml", "content": "a: 1\n"},
                {"action": "delete", "file_path": "README.md"},
            ],
        }
    )
    equal(written.author_name, "Olga", "who committed by API")
    equal(
        sorted(entry["path"] for entry in owned.repository_tree(recursive=True, get_all=True)),
        ["landfall.yaml", "requests", "requests/database.yaml"],
        "the tree",
    )

    clone.git("fetch", "--quiet", "origin")
    refused(None, lambda: clone.git("push", "origin", "origin/main:refs/heads/main", "HEAD:refs/heads/main"))
    clone.git("push", "--quiet", "origin", "HEAD:refs/heads/aside")
    clone.git("push", "--quiet", "origin", ":aside")
    clone.git("tag", "v1")
    clone.git("push", "--quiet", "origin", "v1")
    pushes = owned.events.list(action="pushed", get_all=True)
    equal(
        [(one.author["username"], one.push_data["ref"]) for one in pushes][:3],
        [("dev", "v1"), ("dev", "aside"), ("dev", "aside")],
        "the newest pushes",
    )
    assert ("olga", "main") in [(one.author["username"], one.push_data["ref"]) for one in pushes]


def issues(project):
    issue = project.issues.create({"title": "A direct push", "description": "by *somebody*", "labels": ["landfall"]})
    issue.notes.create({"body": "Seen"})
    issue.state_event = "close"
    issue.save()
    equal(project.issues.get(issue.iid).state, "closed", "the issue")
    equal([one.iid for one in project.issues.list(labels=["landfall"], get_all=True)], [issue.iid], "by label")


def approvers(merge_request):
    return [one["user"]["username"] for one in merge_request.approvals.get().approved_by]


class Clone:
    """A clone as one user; nothing of this machine's configuration, no question asked."""

    def __init__(self, folder, url, user):
        self.folder = pathlib.Path(folder)
        address = url.replace("://", f"://{user['username']}:{user['token']}@")
        self.git("clone", "--quiet", address, ".")
        self.git("config", "user.name", user["username"])
        self.git("config", "user.email", f"{user['username']}@example.test")

    def git(self, *arguments):
        quiet = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0"}
        said = subprocess.run(
            ["git", *arguments],
            cwd=self.folder,
            env={"PATH": PATH, "HOME": str(self.folder), "LC_ALL": "C", **quiet},
            capture_output=True,
            text=True,
            check=False,
        )
        if said.returncode != 0:
            raise GitRefused(f"git {arguments[0]}: {said.stderr}")
        return said.stdout + said.stderr

    def commit(self, path, content, message):
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)
        return self.git("rev-parse", "HEAD").strip()


class GitRefused(Exception):
    pass


def equal(found, expected, what):
    assert found == expected, f"{what}: found {found!r}, expected {expected!r}"


def refused(status, call):
    """The call must be refused: by the API with this status, or by git where there is none."""
    try:
        call()
    except gitlab.exceptions.GitlabError as error:
        equal(error.response_code, status, "the status of a refusal")
    except GitRefused:
        assert status is None, "git refused what the API should have"
    else:
        raise AssertionError(f"not refused, expected {status}")


if __name__ == "__main__":
    given = json.load(sys.stdin)
    PATH = given.pop("path")
    main(given)
