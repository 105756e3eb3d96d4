//! How people reach a cluster, without a credential: a kubeconfig that asks the AWS CLI, and the command that makes one.

use super::{Address, Cluster, certificates};

/// The fields are those of <https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/>; the plugin is called as
/// `aws eks update-kubeconfig` writes it. Values are texts in quotes, and `Cluster` lets nothing in that ends one.
pub(super) fn kubeconfig(cluster: &Cluster) -> String {
    let (name, region, endpoint) = (cluster.name(), cluster.region(), cluster.endpoint());
    let authority = certificates::write(&cluster.authority);
    format!(
        r#"apiVersion: v1
kind: Config
clusters:
  - name: "{name}"
    cluster:
      server: "{endpoint}"
      certificate-authority-data: "{authority}"
contexts:
  - name: "{name}"
    context:
      cluster: "{name}"
      user: "{name}"
current-context: "{name}"
users:
  - name: "{name}"
    user:
      exec:
        apiVersion: client.authentication.k8s.io/v1beta1
        command: aws
        args:
          - --region
          - "{region}"
          - eks
          - get-token
          - --cluster-name
          - "{name}"
          - --output
          - json
        interactiveMode: IfAvailable
"#
    )
}

pub(super) fn command(address: &Address) -> String {
    format!(
        "aws eks update-kubeconfig --name {} --region {}",
        address.name, address.region
    )
}
