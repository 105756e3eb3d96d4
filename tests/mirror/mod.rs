//! The mirror against real git over real HTTP.

mod peer;
mod sandbox;

use std::path::Path;
use std::time::Duration;

use http::StatusCode;
use landfall::domain::ids::{CommitId, MergeRequestNumber};
use landfall::domain::secret::Secret;
use landfall::domain::tree::Mode;
use landfall::git::{Commit, GitError, Mirror, MirrorOptions};
use peer::{Forge, Mood, TOKEN};

const ONE: MergeRequestNumber = MergeRequestNumber(1);
const TWO: MergeRequestNumber = MergeRequestNumber(2);

struct World {
    forge: Forge,
    folder: tempfile::TempDir,
    mirror: Mirror,
}

impl World {
    async fn start() -> Self {
        let forge = Forge::start().await;
        let folder = tempfile::tempdir().unwrap();
        let mirror = Mirror::open(options(&forge, folder.path())).await.unwrap();
        Self {
            forge,
            folder,
            mirror,
        }
    }

    fn options(&self) -> MirrorOptions {
        options(&self.forge, self.folder.path())
    }

    async fn target(&self) -> CommitId {
        self.mirror.fetch("main", &[]).await.unwrap().target
    }

    async fn history(&self, after: &CommitId, until: &CommitId) -> Vec<String> {
        subjects(self.mirror.first_parent_history(after, until).await.unwrap())
    }
}

fn options(forge: &Forge, folder: &Path) -> MirrorOptions {
    MirrorOptions {
        directory: folder.join("mirror"),
        url: forge.url(),
        username: "landfall".into(),
        token: Secret::new(TOKEN).into(),
        client: client(),
        fetch_limit: 10_000_000,
        fetch_time: Duration::from_secs(60),
    }
}

fn client() -> reqwest::Client {
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls())
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .build()
        .unwrap()
}

/// Never used: the forge of these tests speaks plain HTTP. Given so that no trust store is looked for.
fn tls() -> rustls::ClientConfig {
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth()
}

fn subjects(commits: Vec<Commit>) -> Vec<String> {
    commits.into_iter().map(|commit| commit.subject).collect()
}

/// Bytes that do not compress.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let next = |_| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..length).map(next).collect()
}

#[tokio::test]
async fn a_request_that_was_pushed_can_be_read() {
    let world = World::start().await;
    let head = world.forge.request("orders");
    world.forge.push("main");

    let fetched = world.mirror.fetch("main", &[]).await.unwrap();

    assert_eq!(fetched.target, head);
    let tree = world.mirror.tree(&head).await.unwrap();
    let paths: Vec<_> = tree.entries.keys().map(String::as_str).collect();
    assert_eq!(paths, ["landfall.yaml", "requests/shop/orders.yaml"]);
    let entry = &tree.entries["requests/shop/orders.yaml"];
    let content = world.mirror.blob(&entry.blob, 1_000).await.unwrap().unwrap();
    assert_eq!(content, b"kind: Project # orders\n");
    assert_eq!(entry.size, content.len() as u64);
    assert_eq!(
        world.forge.requests(),
        2,
        "one fetch is one look at the refs and one exchange"
    );
}

#[tokio::test]
async fn a_second_fetch_brings_only_what_is_new() {
    let world = World::start().await;
    world.forge.write("requests/shop/README.md", noise(500_000));
    world.forge.commit("a large file");
    world.forge.push("main");
    let full = world.mirror.fetch("main", &[]).await.unwrap();
    assert!(full.received > 500_000, "{}", full.received);

    let again = world.mirror.fetch("main", &[]).await.unwrap();
    let head = world.forge.request("orders");
    world.forge.push("main");
    let increment = world.mirror.fetch("main", &[]).await.unwrap();

    assert_eq!(increment.target, head);
    assert!(again.received < 1_000, "{}", again.received);
    assert!(increment.received < 2_000, "{}", increment.received);
}

#[tokio::test]
async fn merge_request_heads_come_with_the_target_in_one_exchange() {
    let world = World::start().await;
    let base = world.forge.head();
    world.forge.git(&["checkout", "--quiet", "-b", "orders"]);
    let first = world.forge.request("orders");
    let second = world.forge.request("billing");
    world.forge.push("refs/merge-requests/1/head");

    let fetched = world.mirror.fetch("main", &[ONE, TWO]).await.unwrap();

    assert_eq!(fetched.target, base);
    assert_eq!(
        fetched.heads.into_iter().collect::<Vec<_>>(),
        [(ONE, second.clone())]
    );
    assert_eq!(world.forge.requests(), 2);
    assert_eq!(
        world.mirror.merge_base(&base, &second).await.unwrap(),
        Some(base.clone())
    );
    let brought = world.mirror.commits_between(&base, &second).await.unwrap();
    assert_eq!(
        brought.iter().map(|c| c.id.clone()).collect::<Vec<_>>(),
        [first, second]
    );
    assert_eq!(brought[0].emails, ["dora@shop.example"]);
}

#[tokio::test]
async fn a_forced_push_of_source_and_target_is_followed_and_noticed() {
    let world = World::start().await;
    let base = world.forge.head();
    let old = world.forge.request("orders");
    world.forge.push("main");
    world.forge.push("refs/merge-requests/1/head");
    world.mirror.fetch("main", &[ONE]).await.unwrap();

    world.forge.git(&["reset", "--quiet", "--hard", base.as_str()]);
    let new = world.forge.request("billing");
    world.forge.push("main");
    world.forge.push("refs/merge-requests/1/head");
    let fetched = world.mirror.fetch("main", &[ONE]).await.unwrap();

    assert_eq!(fetched.target, new);
    assert_eq!(fetched.heads[&ONE], new);
    assert!(!world.mirror.is_ancestor(&old, &new).await.unwrap());
    let rewritten = world.mirror.first_parent_history(&old, &new).await.unwrap_err();
    assert_eq!(
        rewritten,
        GitError::NotADescendant {
            after: old.clone(),
            until: new
        }
    );
    assert!(
        world.mirror.tree(&old).await.is_ok(),
        "what was accepted stays readable"
    );
}

#[tokio::test]
async fn links_submodules_and_programs_are_told_apart() {
    let world = World::start().await;
    let base = world.forge.head();
    world.forge.write("requests/shop/run.sh", "#!/bin/sh\n");
    world.forge.git(&["add", "--all", "--chmod=+x"]);
    std::os::unix::fs::symlink("/etc/passwd", world.forge.work().join("requests/shop/link.yaml")).unwrap();
    world.forge.git(&["add", "--all"]);
    world
        .forge
        .git(&["update-index", "--chmod=+x", "requests/shop/run.sh"]);
    let module = format!("160000,{base},catalog/modules");
    world
        .forge
        .git(&["update-index", "--add", "--cacheinfo", &module]);
    world.forge.git(&["commit", "--quiet", "--message", "all kinds"]);
    world.forge.push("main");

    let tree = world.mirror.tree(&world.target().await).await.unwrap();

    let modes: Vec<_> = tree
        .entries
        .iter()
        .map(|(p, e)| (p.as_str(), e.mode, e.size))
        .collect();
    assert_eq!(
        modes,
        [
            ("catalog/modules", Mode::Submodule, 0),
            ("landfall.yaml", Mode::File, 17),
            ("requests/shop/link.yaml", Mode::SymbolicLink, 11),
            ("requests/shop/run.sh", Mode::Executable, 10),
        ]
    );
}

#[tokio::test]
async fn only_governed_paths_are_read_and_odd_names_among_them_are_told() {
    use std::os::unix::ffi::OsStrExt;
    let odd = |bytes: &[u8]| std::path::PathBuf::from(std::ffi::OsStr::from_bytes(bytes));
    let world = World::start().await;
    std::fs::write(world.forge.work().join(odd(b"read\xffme")), "not ours").unwrap();
    world.forge.commit("an odd name outside");
    world.forge.push("main");
    let outside = world.mirror.tree(&world.target().await).await.unwrap();
    assert_eq!(outside.entries.len(), 1);

    world.forge.write("requests/a.yaml", "");
    std::fs::write(
        world.forge.work().join("requests").join(odd(b"caf\xe9.yaml")),
        "ours",
    )
    .unwrap();
    world.forge.commit("an odd name inside");
    world.forge.push("main");
    let inside = world.mirror.tree(&world.target().await).await.unwrap();
    let odd: Vec<_> = inside
        .entries
        .iter()
        .filter(|(_, entry)| entry.mode == Mode::Unreadable)
        .collect();
    assert_eq!(odd.len(), 1, "{inside:?}");
    assert!(
        odd[0].0.starts_with("requests/") && odd[0].0.ends_with("-caf\u{fffd}.yaml"),
        "{odd:?}"
    );
    assert!(
        inside.entries.contains_key("requests/a.yaml"),
        "one odd name hides nothing else"
    );
}

#[tokio::test]
async fn a_blob_over_the_limit_is_told_but_not_read() {
    let world = World::start().await;
    world.forge.write("requests/shop/big.yaml", vec![b'a'; 300_000]);
    world.forge.commit("big");
    world.forge.push("main");
    let tree = world.mirror.tree(&world.target().await).await.unwrap();
    let entry = &tree.entries["requests/shop/big.yaml"];

    assert_eq!(entry.size, 300_000);
    assert_eq!(world.mirror.blob(&entry.blob, 299_999).await.unwrap(), None);
    assert_eq!(
        world
            .mirror
            .blob(&entry.blob, 300_000)
            .await
            .unwrap()
            .map(|b| b.len()),
        Some(300_000)
    );
}

#[tokio::test]
async fn a_refused_token_is_said_and_never_shown() {
    let world = World::start().await;
    let options = MirrorOptions {
        token: Secret::new("glpat-revoked").into(),
        ..world.options()
    };
    let shown = format!("{options:?}");
    let error = Mirror::open(options)
        .await
        .unwrap()
        .fetch("main", &[])
        .await
        .unwrap_err();

    assert_eq!(
        error,
        GitError::Forbidden {
            url: world.forge.url().to_string()
        }
    );
    assert!(!format!("{error} {error:?} {shown}").contains("glpat"));
}

#[tokio::test]
async fn what_is_wrong_with_the_forge_is_told_apart() {
    let world = World::start().await;
    let url = world.forge.url().to_string();
    let unavailable = |reason: &str| GitError::Unavailable {
        url: url.clone(),
        reason: reason.into(),
    };
    let elsewhere = "it redirects to http://other.invalid, where our token is not sent; \
                     if the forge has moved, configure its new address";
    for (mood, expected) in [
        (
            Mood::Status(StatusCode::FORBIDDEN),
            GitError::Forbidden { url: url.clone() },
        ),
        (
            Mood::Status(StatusCode::NOT_FOUND),
            GitError::NoRepository { url: url.clone() },
        ),
        (
            Mood::Status(StatusCode::BAD_GATEWAY),
            unavailable("it answered 502 Bad Gateway"),
        ),
        (
            Mood::Redirect("http://other.invalid/shop/requests.git/info/refs".into()),
            unavailable(elsewhere),
        ),
        (
            Mood::Redirect("/shop/requests.git/info/refs".into()),
            unavailable("it redirects in circles"),
        ),
    ] {
        world.forge.is(mood.clone());
        assert_eq!(
            world.mirror.fetch("main", &[]).await.unwrap_err(),
            expected,
            "{mood:?}"
        );
    }
    world.forge.is(Mood::BreakOff);
    let broken = world.mirror.fetch("main", &[]).await.unwrap_err();
    assert!(matches!(broken, GitError::Unavailable { .. }), "{broken}");

    world.forge.is(Mood::Well);
    let missing = world.mirror.fetch("release", &[]).await.unwrap_err();
    assert_eq!(
        missing,
        GitError::Missing {
            what: format!("refs/heads/release of {url}")
        }
    );
    assert!(
        world.mirror.fetch("main", &[]).await.is_ok(),
        "nothing of it lasts"
    );
}

#[tokio::test]
async fn a_redirect_within_the_forge_is_followed() {
    let world = World::start().await;
    world
        .forge
        .is(Mood::Redirect("/moved/requests.git/info/refs".into()));
    assert_eq!(world.target().await, world.forge.head());
}

#[tokio::test]
async fn a_forge_that_is_not_there_or_never_answers_does_not_hold_us_up() {
    let world = World::start().await;
    world.forge.is(Mood::Silent);
    let options = MirrorOptions {
        fetch_time: Duration::from_millis(100),
        ..world.options()
    };
    let silent = Mirror::open(options)
        .await
        .unwrap()
        .fetch("main", &[])
        .await
        .unwrap_err();
    assert_eq!(
        silent.to_string(),
        format!("fetching from {}: it took too long", world.forge.url())
    );

    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url: url::Url = format!("http://{}/x.git", listener.local_addr().unwrap())
        .parse()
        .unwrap();
    drop(listener);
    let options = MirrorOptions {
        url,
        ..world.options()
    };
    let gone = Mirror::open(options)
        .await
        .unwrap()
        .fetch("main", &[])
        .await
        .unwrap_err();
    assert!(
        matches!(&gone, GitError::Unavailable { reason, .. } if reason.contains("refused")),
        "{gone}"
    );
}

#[tokio::test]
async fn a_fetch_stops_at_its_limit_and_leaves_nothing() {
    let world = World::start().await;
    world.forge.write("requests/shop/big.bin", noise(2_000_000));
    world.forge.commit("big");
    world.forge.push("main");
    let options = MirrorOptions {
        fetch_limit: 100_000,
        ..world.options()
    };
    let limited = Mirror::open(options).await.unwrap();

    let error = limited.fetch("main", &[]).await.unwrap_err();

    assert_eq!(
        error,
        GitError::TooLarge {
            url: world.forge.url().to_string(),
            limit: 100_000
        }
    );
    limited.fetch("main", &[]).await.unwrap_err();
    let packs = std::fs::read_dir(world.folder.path().join("mirror/repository/objects/pack")).unwrap();
    let left: u64 = packs.map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
    assert!(left < 200_000, "{left} bytes");
}

#[tokio::test]
async fn a_damaged_mirror_is_made_anew() {
    let world = World::start().await;
    let head = world.forge.request("orders");
    world.forge.push("main");
    let blob = world.mirror.fetch("main", &[]).await.unwrap();
    let blob = world.mirror.tree(&blob.target).await.unwrap().entries["requests/shop/orders.yaml"]
        .blob
        .clone();
    let repository = world.folder.path().join("mirror/repository");
    let each_pack = |damage: &dyn Fn(&Path)| {
        let packs = repository.join("objects/pack");
        for file in std::fs::read_dir(packs)
            .unwrap()
            .map(|entry| entry.unwrap().path())
        {
            let mut permissions = file.metadata().unwrap().permissions();
            #[allow(clippy::permissions_set_readonly_false)]
            permissions.set_readonly(false);
            std::fs::set_permissions(&file, permissions).unwrap();
            damage(&file);
        }
    };
    let spoil = |file: &Path| {
        let length = std::fs::metadata(file).unwrap().len() as usize;
        std::fs::write(file, vec![7; length]).unwrap();
    };
    let damages: [(&str, &dyn Fn()); 6] = [
        ("no repository", &|| std::fs::remove_dir_all(&repository).unwrap()),
        ("no HEAD", &|| {
            std::fs::remove_file(repository.join("HEAD")).unwrap()
        }),
        ("no packs", &|| {
            each_pack(&|file| std::fs::remove_file(file).unwrap())
        }),
        ("cut packs", &|| {
            each_pack(&|file| std::fs::write(file, "").unwrap())
        }),
        ("spoiled packs", &|| each_pack(&spoil)),
        ("a spoiled ref", &|| {
            std::fs::write(repository.join("refs/landfall/heads/main"), "no commit\n").unwrap();
        }),
    ];
    for (what, damage) in damages {
        damage();
        let mirror = Mirror::open(world.options()).await.expect(what);
        // Somebody may read before the next fetch: that may fail, and must not keep the fetch from healing.
        let _ = mirror.blob(&blob, 1_000).await;
        assert_eq!(
            mirror.fetch("main", &[]).await.expect(what).target,
            head,
            "{what}"
        );
        assert!(mirror.blob(&blob, 1_000).await.expect(what).is_some(), "{what}");
        assert!(mirror.tree(&head).await.is_ok(), "{what}");
    }
}

#[tokio::test]
async fn what_a_killed_process_left_does_not_stand_in_the_way() {
    let world = World::start().await;
    world.target().await;
    let repository = world.folder.path().join("mirror/repository");
    let left = repository.join("objects/pack/pack_git2_4711");
    std::fs::write(repository.join("refs/landfall/heads/main.lock"), "").unwrap();
    std::fs::write(repository.join("packed-refs.lock"), "").unwrap();
    std::fs::write(&left, "half a pack").unwrap();
    let head = world.forge.request("orders");
    world.forge.push("main");

    assert_eq!(world.target().await, head);
    assert!(!left.exists());
}

#[tokio::test]
async fn a_folder_that_is_something_else_is_left_alone() {
    let world = World::start().await;
    let home = world.folder.path().join("home");
    std::fs::create_dir(&home).unwrap();
    std::fs::write(home.join("thesis.tex"), "years of work").unwrap();
    let options = MirrorOptions {
        directory: home.clone(),
        ..world.options()
    };

    let error = Mirror::open(options).await.unwrap_err();

    assert!(
        error.to_string().contains("neither empty nor a mirror"),
        "{error}"
    );
    assert!(home.join("thesis.tex").exists());
}

#[tokio::test]
async fn credentials_in_the_address_are_refused_and_not_repeated() {
    let world = World::start().await;
    let mut url = world.forge.url();
    url.set_password(Some("glpat-oops")).unwrap();
    let error = Mirror::open(MirrorOptions {
        url,
        ..world.options()
    })
    .await
    .unwrap_err();
    assert!(!error.to_string().contains("glpat"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_fetch_into_one_folder_at_once() {
    let world = World::start().await;
    let head = world.forge.request("orders");
    world.forge.push("main");
    let mut fetches = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let mirror = Mirror::open(world.options()).await.unwrap();
        for _ in 0..2 {
            let mirror = mirror.clone();
            fetches.spawn(async move { mirror.fetch("main", &[]).await });
        }
    }
    for fetched in fetches.join_all().await {
        assert_eq!(fetched.unwrap().target, head);
    }
    assert!(world.mirror.tree(&head).await.is_ok());
}

#[tokio::test]
async fn many_small_fetches_do_not_leave_many_packs() {
    let world = World::start().await;
    let first = world.target().await;
    for number in 0..55 {
        world.forge.request(&format!("request-{number}"));
        world.forge.push("main");
        world.target().await;
    }
    let last = world.target().await;
    let packs = std::fs::read_dir(world.folder.path().join("mirror/repository/objects/pack")).unwrap();
    let packs = packs
        .filter(|e| {
            e.as_ref()
                .unwrap()
                .path()
                .extension()
                .is_some_and(|e| e == "pack")
        })
        .count();
    assert!(packs <= 51, "{packs} packs");
    assert_eq!(world.history(&first, &last).await.len(), 55);
    assert_eq!(world.mirror.tree(&last).await.unwrap().entries.len(), 56);
}

#[tokio::test]
async fn the_history_tells_how_things_landed() {
    let world = World::start().await;
    let forge = &world.forge;
    let start = forge.head();
    forge.git(&["checkout", "--quiet", "-b", "merged"]);
    forge.request("one");
    forge.request("two");
    forge.git(&["checkout", "--quiet", "main"]);
    forge.git(&[
        "merge",
        "--quiet",
        "--no-ff",
        "--message",
        "merge 'merged'",
        "merged",
    ]);
    let merge = forge.head();
    forge.git(&["checkout", "--quiet", "-b", "squashed"]);
    forge.request("three");
    forge.request("four");
    forge.git(&["checkout", "--quiet", "main"]);
    forge.git(&["merge", "--quiet", "--squash", "squashed"]);
    forge.commit("squash 'squashed'");
    forge.git(&["checkout", "--quiet", "-b", "forwarded"]);
    forge.request("five");
    forge.request("six");
    forge.git(&["checkout", "--quiet", "main"]);
    forge.git(&["merge", "--quiet", "--ff-only", "forwarded"]);
    forge.push("main");
    let until = world.target().await;

    let expected = ["merge 'merged'", "squash 'squashed'", "add five", "add six"];
    assert_eq!(world.history(&start, &until).await, expected);
    assert_eq!(world.history(&merge, &until).await, expected[1..]);
    assert_eq!(world.history(&until, &until).await, [""; 0]);
    let commits = world.mirror.first_parent_history(&start, &until).await.unwrap();
    assert_eq!(commits[0].parents[0], start, "the first parent stands first");
    assert_eq!(commits[0].parents.len(), 2);
    assert!(world.mirror.is_ancestor(&start, &until).await.unwrap());
    assert!(world.mirror.is_ancestor(&until, &until).await.unwrap());
    assert!(!world.mirror.is_ancestor(&until, &start).await.unwrap());
    let backwards = world
        .mirror
        .first_parent_history(&until, &start)
        .await
        .unwrap_err();
    assert!(matches!(backwards, GitError::NotADescendant { .. }));
}

#[tokio::test]
async fn a_branch_fast_forwarded_to_one_that_merged_it_lists_the_line_it_took_over() {
    let world = World::start().await;
    let forge = &world.forge;
    forge.git(&["checkout", "--quiet", "-b", "feature"]);
    forge.request("of-the-feature");
    forge.git(&["checkout", "--quiet", "main"]);
    let after = forge.request("of-main");
    forge.git(&["checkout", "--quiet", "feature"]);
    forge.git(&[
        "merge",
        "--quiet",
        "--no-ff",
        "--message",
        "main into feature",
        "main",
    ]);
    forge.push("main");
    let until = world.target().await;

    assert_eq!(
        world.history(&after, &until).await,
        ["add of-the-feature", "main into feature"]
    );
}

#[tokio::test]
async fn unrelated_histories_have_no_merge_base() {
    let world = World::start().await;
    let one = world.target().await;
    world.forge.git(&["checkout", "--quiet", "--orphan", "other"]);
    world.forge.commit("from nothing");
    world.forge.push("refs/merge-requests/1/head");
    let other = world.mirror.fetch("main", &[ONE]).await.unwrap().heads[&ONE].clone();
    assert_eq!(world.mirror.merge_base(&one, &other).await.unwrap(), None);
}

#[tokio::test]
async fn names_that_shadow_the_branch_do_not_confuse() {
    let world = World::start().await;
    let head = world.forge.head();
    world.forge.request("sneaky");
    for shadow in [
        "refs/tags/main",
        "refs/tags/refs/heads/main",
        "refs/heads/refs/heads/main",
        "refs/merge-requests/refs/heads/main",
    ] {
        world.forge.push(shadow);
    }
    assert_eq!(world.target().await, head);

    let bare = world.forge.bare();
    world.forge.git(&[
        "--git-dir",
        bare.to_str().unwrap(),
        "update-ref",
        "-d",
        "refs/heads/main",
    ]);
    let gone = world.mirror.fetch("main", &[]).await.unwrap_err();
    assert!(matches!(gone, GitError::Missing { .. }), "{gone}");
    for name in ["", "*", "a:b", "../x", "main\0"] {
        let error = world.mirror.fetch(name, &[]).await.unwrap_err();
        assert!(matches!(error, GitError::Missing { .. }), "{name:?}: {error}");
    }
}

#[tokio::test]
async fn a_ref_whose_name_is_not_text_stops_nobody() {
    use std::os::unix::ffi::OsStrExt;
    let world = World::start().await;
    let name = std::ffi::OsStr::from_bytes(b"odd-\xff");
    std::fs::write(
        world.forge.bare().join("refs/heads").join(name),
        format!("{}\n", world.forge.head()),
    )
    .unwrap();
    assert_eq!(world.target().await, world.forge.head());
}
