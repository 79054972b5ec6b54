//! Times discovery: a repository of 2,000 root modules and 8,000 files, and a graph of 10,000 stacks.
//!
//! `cargo bench --bench discovery` prints a table and, line by line, the same as JSON. Nothing is asserted: the goals
//! stand beside the figures.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use lockkeeper::domain::graph::{Because, Edge, Graph, Reads, Reason};
use lockkeeper::domain::ids::{RepoId, RepoPath, StackName};
use lockkeeper::domain::layout::{ReadSet, Stack, StateAt, Tool};
use lockkeeper::domain::located::Place;
use lockkeeper::source::kept::Kept;
use lockkeeper::source::{Change, Entry, Input, Kind, Tree, discover_with, wanted};

use crate::report::Report;

mod report;

const ROOTS: usize = 2_000;
const MODULES: usize = 500;

fn main() {
    // cargo passes --bench; a filter would come here too.
    let mut report = Report::default();
    report.add("resident memory at the start", memory("VmRSS"), "MB", "");
    repository(&mut report);
    nothing(&mut report);
    affected(&mut report);
    println!("{}", report.table());
}

/// Discovery of one changed file: with nothing kept of other runs, and with what a server keeps.
fn repository(report: &mut Report) {
    let (base, bytes) = generated();
    let what = format!(
        "{ROOTS} root modules, {} files, {:.1} MB",
        base.entries.len(),
        bytes as f64 / 1e6
    );
    report.add(format!("resident memory with {what}"), memory("VmRSS"), "MB", "");
    let mut cold = Times::default();
    for at in 0..5 {
        let (merged, changes) = changed(&base, at);
        cold.take(|| drop(discover_with(&Kept::default(), &input(&base, &merged, &changes))));
    }
    cold.tell(report, &format!("{what}: cold"), "<= 800");

    let kept = Kept::default();
    let (merged, changes) = changed(&base, 0);
    let found = discover_with(&kept, &input(&base, &merged, &changes));
    assert_eq!(found.errors, []);
    report.add("the same: stacks", found.graph.stacks().len() as f64, "", "");
    report.add("the same: edges", found.graph.edges().len() as f64, "", "");
    report.add("the same: affected", found.selected.len() as f64, "", "");
    drop(found);
    report.add(
        "the same: resident memory, base's reading kept",
        memory("VmRSS"),
        "MB",
        "",
    );

    let mut warm = Times::default();
    for at in 0..WARM {
        let (merged, changes) = changed(&base, 1 + at);
        warm.take(|| drop(discover_with(&kept, &input(&base, &merged, &changes))));
    }
    warm.tell(report, "warm: the same base, each time another pull request", "<= 100");

    let mut moved = Times::default();
    let mut base = base;
    for at in 0..WARM {
        base = changed(&base, 100 + at).0;
        let (merged, changes) = changed(&base, 200 + at);
        moved.take(|| drop(discover_with(&kept, &input(&base, &merged, &changes))));
    }
    moved.tell(report, "warm: each time the base is one commit further", "<= 100");
    report.add("the same: resident memory, two bases kept", memory("VmRSS"), "MB", "");
    report.add("the same: peak memory", memory("VmHWM"), "MB", "");
}

/// Runs of one kind of warm discovery.
const WARM: usize = 15;

fn input<'a>(base: &'a Tree, merged: &'a Tree, changes: &'a [Change]) -> Input<'a> {
    Input {
        repo: RepoId(1),
        base,
        merged,
        changes,
    }
}

/// How long each of some runs took, and the time that they all spent on processors.
#[derive(Default)]
struct Times {
    each: Vec<f64>,
    spent: f64,
}

impl Times {
    fn take(&mut self, work: impl FnOnce()) {
        let spent = processor_ms();
        self.each.push(timed(work));
        self.spent += processor_ms() - spent;
    }

    fn tell(mut self, report: &mut Report, what: &str, goal: &str) {
        let count = self.each.len();
        report.add(format!("{what}, median of {count}"), middle(&mut self.each), "ms", goal);
        report.add("the same: fastest", self.each[0], "ms", "");
        report.add(
            "the same: time on processors, mean",
            self.spent / count as f64,
            "ms",
            "",
        );
    }
}

/// A repository that is no infrastructure.
fn nothing(report: &mut Report) {
    let mut tree = Tree::default();
    for at in 0..50_000 {
        put(
            &mut tree,
            &format!("src/part-{:03}/file-{at:05}.c", at % 500),
            "int main() {}\n",
        );
    }
    let input = Input {
        repo: RepoId(1),
        base: &tree,
        merged: &tree,
        changes: &[],
    };
    let mut times: Vec<f64> = (0..5)
        .map(|_| timed(|| drop(discover_with(&Kept::default(), &input))))
        .collect();
    report.add(
        "50,000 files without a stack, median of 5",
        middle(&mut times),
        "ms",
        "",
    );
}

fn put(tree: &mut Tree, name: &str, text: &str) -> usize {
    let path = RepoPath::parse(name).expect("a path");
    // Equal contents have equal names, as in git; a name is as long as git's.
    let blob = format!("{:040x}", fnv(text));
    if wanted(&path, Kind::File) {
        tree.blobs.insert(blob.clone(), Arc::from(text.as_bytes()));
    }
    Arc::make_mut(&mut tree.entries).insert(path, Entry { kind: Kind::File, blob });
    text.len()
}

fn fnv(text: &str) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    text.bytes().fold(0xcbf2_9ce4_8422_2325, step)
}

fn root(at: usize) -> String {
    format!("infra/team-{:02}/service-{at:04}", at % 40)
}

/// Root modules of three files, modules of four; each root calls two modules and reads two states.
fn generated() -> (Tree, usize) {
    let mut tree = Tree::default();
    let mut bytes = 0;
    for at in 0..MODULES {
        let dir = format!("modules/part-{at:03}");
        for (name, text) in module(at) {
            bytes += put(&mut tree, &format!("{dir}/{name}"), &text);
        }
    }
    for at in 0..ROOTS {
        for (name, text) in root_module(at) {
            bytes += put(&mut tree, &format!("{}/{name}", root(at)), &text);
        }
    }
    (tree, bytes)
}

fn module(at: usize) -> Vec<(&'static str, String)> {
    let resources: String = (0..4)
        .map(|part| {
            format!(
                "resource \"aws_security_group\" \"part_{part}\" {{\n  name        = \"${{var.name}}-{part}\"\n  description = \"part {part} of {at}\"\n  vpc_id      = var.vpc_id\n\n  \
                 ingress {{\n    from_port   = {part}\n    to_port     = 80\n    protocol    = \"tcp\"\n    cidr_blocks = var.cidrs\n  }}\n\n  tags = merge(local.tags, {{ Part = \"{part}\" }})\n}}\n\n"
            )
        })
        .collect();
    // One in three modules stands on another.
    let nested = match at % 3 {
        0 if at > 0 => format!(
            "module \"below\" {{\n  source = \"../part-{:03}\"\n  name   = var.name\n  vpc_id = var.vpc_id\n  cidrs  = var.cidrs\n}}\n",
            at / 3
        ),
        _ => String::new(),
    };
    vec![
        (
            "main.tf",
            format!("locals {{\n  tags = {{ Module = \"part-{at}\", Env = var.env }}\n}}\n\n{resources}{nested}"),
        ),
        (
            "variables.tf",
            format!(
                "# {at}\nvariable \"name\" {{\n  type = string\n}}\n\nvariable \"env\" {{\n  type    = string\n  default = \"prod\"\n}}\n\nvariable \"vpc_id\" {{\n  type = string\n}}\n\nvariable \"cidrs\" {{\n  type    = list(string)\n  default = []\n}}\n"
            ),
        ),
        (
            "outputs.tf",
            format!(
                "output \"id\" {{\n  description = \"the group of {at}\"\n  value       = aws_security_group.part_0.id\n}}\n"
            ),
        ),
        (
            "versions.tf",
            format!(
                "# {at}\nterraform {{\n  required_version = \">= 1.5\"\n  required_providers {{\n    aws = {{\n      source  = \"hashicorp/aws\"\n      version = \"~> 5.0\"\n    }}\n  }}\n}}\n"
            ),
        ),
    ]
}

fn root_module(at: usize) -> Vec<(&'static str, String)> {
    let calls: String = (0..2)
        .map(|call| {
            format!(
                "module \"part_{call}\" {{\n  source = \"../../../modules/part-{:03}\"\n  name   = \"${{local.name}}-{call}\"\n  vpc_id = data.terraform_remote_state.up_0.outputs.vpc_id\n  cidrs  = [for subnet in data.terraform_remote_state.up_1.outputs.subnets : subnet.cidr]\n}}\n\n",
                (at * 7 + call * 131) % MODULES
            )
        })
        .collect();
    // A tree of depth ten or so: each stands on two that come before it.
    let states: String = [at / 3, at / 2]
        .iter()
        .enumerate()
        .map(|(state, up)| {
            format!(
                "data \"terraform_remote_state\" \"up_{state}\" {{\n  backend = \"s3\"\n  config = {{\n    bucket = \"acme-${{local.env}}\"\n    key    = \"service-{up:04}/terraform.tfstate\"\n    region = var.region\n  }}\n}}\n\n"
            )
        })
        .collect();
    vec![
        (
            "main.tf",
            format!(
                "terraform {{\n  required_version = \">= 1.5\"\n  backend \"s3\" {{\n    bucket = \"acme-prod\"\n    key    = \"service-{at:04}/terraform.tfstate\"\n    region = \"eu-west-1\"\n  }}\n}}\n\nprovider \"aws\" {{\n  region = var.region\n}}\n\nlocals {{\n  env  = \"prod\"\n  name = format(\"%s-%s\", local.env, \"service-{at:04}\")\n}}\n\n{states}{calls}resource \"aws_ssm_parameter\" \"this\" {{\n  name  = \"/${{local.name}}/id\"\n  type  = \"String\"\n  value = module.part_0.id\n}}\n"
            ),
        ),
        (
            "variables.tf",
            format!(
                "# {at}\nvariable \"region\" {{\n  type    = string\n  default = \"eu-west-1\"\n}}\n\nvariable \"size\" {{\n  type        = number\n  default     = {at}\n  description = \"how many\"\n}}\n"
            ),
        ),
        (
            "outputs.tf",
            format!(
                "# {at}\noutput \"vpc_id\" {{\n  value = module.part_0.id\n}}\n\noutput \"subnets\" {{\n  value = [module.part_1.id]\n}}\n"
            ),
        ),
    ]
}

/// The tree after one of many changes, each to a module that many call.
fn changed(base: &Tree, at: usize) -> (Tree, Vec<Change>) {
    let mut merged = base.clone();
    let name = format!("modules/part-{:03}/outputs.tf", at % MODULES);
    let text = format!("# {at}\noutput \"id\" {{\n  value = aws_security_group.part_1.id\n}}\n");
    put(&mut merged, &name, &text);
    let path = RepoPath::parse(&name).expect("a path");
    let change = Change {
        old: Some(path.clone()),
        new: Some(path),
    };
    (merged, vec![change])
}

/// The affected set of 100 changed stacks among 10,000 with 50,000 edges.
fn affected(report: &mut Report) {
    let name = |at: usize| StackName::parse(&format!("stack-{at:05}")).expect("a name");
    let place = Place::file(RepoPath::parse("lockkeeper.yaml").expect("a path"));
    let stacks: BTreeMap<StackName, Stack> = (0..10_000).map(|at| (name(at), stack(name(at)))).collect();
    let mut edges = Vec::new();
    let mut seed = 7_u64;
    while edges.len() < 50_000 {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let downstream = 1 + (seed >> 33) as usize % 9_999;
        let upstream = (seed >> 17) as usize % downstream;
        edges.push(Edge {
            downstream: name(downstream),
            upstream: name(upstream),
            outputs: BTreeMap::new(),
            reads: Reads::Unknown,
            because: Because::Declared { place: place.clone() },
        });
    }
    let (graph, errors) = Graph::build(stacks, edges);
    assert!(errors.is_empty());
    let changed: BTreeMap<StackName, Vec<Reason>> = (0..100)
        .map(|at| (name(at * 100), vec![Reason::New { stack: name(at * 100) }]))
        .collect();
    let spent = processor_ms();
    let mut count = 0;
    let mut times: Vec<f64> = (0..21)
        .map(|_| timed(|| count = graph.affected(changed.clone()).len()))
        .collect();
    let spent = (processor_ms() - spent) / 21.0;
    let what = format!("affected set ({count} of 10,000 stacks, 50,000 edges)");
    report.add(format!("{what}, median of 21"), middle(&mut times), "ms", "<= 50");
    report.add("the same: time on processors, mean", spent, "ms", "");
}

fn stack(name: StackName) -> Stack {
    Stack {
        dir: RepoPath::parse(name.as_str()).expect("a path"),
        name,
        workspace: "default".to_owned(),
        var_files: Vec::new(),
        backend_files: Vec::new(),
        tool: Tool::Terraform,
        tool_version: None,
        required_version: Vec::new(),
        labels: BTreeMap::new(),
        autoplan: true,
        reads: ReadSet::default(),
        local_modules: BTreeSet::new(),
        git_modules: Vec::new(),
        state: StateAt::Unknown("not asked".to_owned()),
        defined_at: None,
        unit: None,
    }
}

fn timed(work: impl FnOnce()) -> f64 {
    let began = Instant::now();
    work();
    ms(began)
}

fn middle(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn ms(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}

/// Time that all threads spent on processors: what is left of a figure on a machine that others use too.
fn processor_ms() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // After the program's name in parentheses, the 12th and 13th fields, in hundredths of a second.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let ticks = fields.split_whitespace().skip(11).take(2);
    ticks.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() * 10.0
}

/// A line of /proc/self/status, in MB.
fn memory(line: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let found = status
        .lines()
        .find_map(|text| text.strip_prefix(line)?.strip_prefix(':'));
    let kib = found.and_then(|line| line.split_whitespace().next()?.parse().ok());
    kib.unwrap_or(f64::NAN) / 1024.0
}
