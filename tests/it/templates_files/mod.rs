//! `herald templates export` and `apply`: the real command, against a server.

mod differences;
mod folder;
mod round_trip;

use std::path::Path;
use std::process::{Command, Stdio};

use herald::rpc::pb;
use herald::rpc::pb::admin_service_client::AdminServiceClient;
use tempfile::TempDir;
use tonic::Status;
use tonic::transport::Channel;

use crate::support::process::channel;
use crate::support::templates::{TYPE, message, template};
use crate::support::world::{TENANT, World};

/// A command that ended.
#[derive(Debug)]
struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

/// The command `herald templates`, which does not inherit a key.
fn command(arguments: &[&str], key: Option<&str>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_herald"));
    command.arg("templates").args(arguments).env_remove("HERALD_KEY").stdin(Stdio::null());
    if let Some(key) = key {
        command.env("HERALD_KEY", key);
    }
    command
}

/// Runs the command while the server, which shares this process, goes on.
async fn run(arguments: &[&str], key: Option<&str>) -> Ran {
    let mut command = command(arguments, key);
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

/// A folder of files, and a server.
struct Desk {
    above: TempDir,
    address: String,
    tenant: &'static str,
}

impl Desk {
    fn new(world: &World) -> Self {
        let address = format!("http://{}", world.replicas[0].rpc);
        Self { above: TempDir::new().unwrap(), address, tenant: TENANT }
    }

    fn dir(&self) -> std::path::PathBuf {
        self.above.path().join("wording")
    }

    async fn run(&self, name: &str, flags: &[&str]) -> Ran {
        let dir = self.dir();
        let place = [name, dir.to_str().unwrap(), "--address", &self.address];
        run(&[&place[..], &["--tenant", self.tenant], flags].concat(), None).await
    }

    async fn export(&self) -> Ran {
        self.run("export", &[]).await
    }

    async fn apply(&self, flags: &[&str]) -> Ran {
        self.run("apply", flags).await
    }

    fn write(&self, path: &str, text: &str) {
        let file = self.dir().join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    }

    fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.dir().join(path)).unwrap()
    }

    /// The paths of all files, sorted.
    fn files(&self) -> Vec<String> {
        let mut files = Vec::new();
        collect(&self.dir(), "", &mut files);
        files.sort();
        files
    }

    async fn set(&self, template: pb::Template) -> Result<pb::Template, Status> {
        let request = pb::SetTemplateRequest {
            tenant_id: self.tenant.into(),
            template: Some(template),
            ..Default::default()
        };
        let answer = admin(&self.address).set_template(request).await?.into_inner();
        Ok(answer.template.unwrap())
    }

    /// The tenant's templates.
    async fn templates(&self) -> Vec<pb::Template> {
        let request = pb::ListTemplatesRequest {
            tenant_id: self.tenant.into(),
            page_size: 100,
            ..Default::default()
        };
        let page = admin(&self.address).list_templates(request).await.unwrap().into_inner();
        assert_eq!(page.next_page_token, "");
        page.templates
    }
}

fn admin(address: &str) -> AdminServiceClient<Channel> {
    AdminServiceClient::new(channel(address.trim_start_matches("http://").parse().unwrap()))
}

fn collect(folder: &Path, below: &str, files: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{below}{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            collect(&entry.path(), &format!("{path}/"), files);
        } else {
            files.push(path);
        }
    }
}

/// A template for `task.assigned` in the simple form.
fn simple(content: &str, locale: &str, heading: &str) -> pb::Template {
    template((TYPE, content, locale), message(heading, "**{{ task.name }}**"))
}

/// The file of such a template.
fn file(heading: &str) -> String {
    format!("[simple]\nheading = \"{heading}\"\nbody = \"**{{{{ task.name }}}}**\"\n")
}
