//! Which module is taken, and what is said of one that cannot be rendered.

use super::*;

#[test]
fn a_version_can_be_asked_for() {
    let request = request("Project", STORAGE);
    let render = |version| render_in("dev", &rules(), &request, &request.resources[0], version);
    assert_eq!(render(Some("1.0.0")).unwrap().unwrap().version, "1.0.0");
    for version in ["9.9.9", "1.0", "newest"] {
        let error = render(Some(version)).unwrap_err().to_string();
        assert_eq!(
            error,
            format!("the module `storage` has no version {version}; it has 1.0.0")
        );
    }
}

#[test]
fn the_newest_version_is_taken_by_number() {
    let mut catalog = Catalog::builtin();
    let versions = catalog.modules.get_mut("storage").unwrap();
    let source = versions[&Version(1, 0, 0)];
    for version in [Version(1, 9, 0), Version(1, 10, 0)] {
        versions.insert(version, Source { version, ..source });
    }
    assert_eq!(
        catalog.resolve("storage", None).unwrap().label(),
        "storage/1.10.0"
    );
    assert_eq!(
        catalog.resolve("storage", Some("1.9.0")).unwrap().label(),
        "storage/1.9.0"
    );
}

#[test]
fn where_there_are_no_modules_there_is_none() {
    let request = request("Project", "repository: {name: shop}");
    assert_eq!(
        render_in("dev", &rules(), &request, &request.resources[0], None),
        Ok(None)
    );
    let request = super::request("Project", STORAGE);
    assert_eq!(
        render_in("sandbox", &rules(), &request, &request.resources[0], None),
        Ok(None)
    );
}

#[test]
fn a_cluster_that_cloudformation_cannot_take_is_told_at_review() {
    let mut request = request("Cluster", CLUSTER);
    let pool = request.resources[0].properties["nodePools"]["workers"].clone();
    let pools: serde_json::Map<String, Value> = (0..60).map(|n| (format!("pool{n}"), pool.clone())).collect();
    request.resources[0]
        .properties
        .insert("nodePools".into(), Value::Object(pools));
    let error = module(&request).unwrap_err();
    assert!(
        matches!(&error, CatalogError::User(reason) if reason.contains("fewer node pools")),
        "{error:?}"
    );
}

#[rstest]
#[case::undefined("A: {{ nothing }}", "undefined value")]
#[case::not_yaml("A: [", "parameters.yaml, line ")]
#[case::endless(
    "{% for a in range(100000) %}{% for b in range(1000) %}{{ b }}{% endfor %}{% endfor %}A: 1",
    "fuel"
)]
#[case::unescaped("A: {{ name|safe }}", "unknown filter")]
#[case::undeclared("A: 1", "A is not in both")]
#[case::missing("{}", "BucketName is not in both")]
#[case::unknown_look_up("A: {lookUp: weather}", "A: unknown variant")]
fn a_broken_module_is_a_fault_of_ours_and_says_where(#[case] parameters: &'static str, #[case] words: &str) {
    let catalog = Catalog::builtin();
    let source = Source {
        parameters,
        ..*catalog.resolve("storage", None).unwrap()
    };
    let context = serde_json::json!({ "name": "n", "spec": {"versioning": true, "tier": "Hot"}, "fate": "Delete", "deletionPolicy": "Delete" });
    let error = render::render(&source, &context).unwrap_err();
    assert!(matches!(error, CatalogError::Broken { .. }), "{error:?}");
    assert!(error.to_string().contains(words), "{error}");
}
