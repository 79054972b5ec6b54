//! Owns the proof that a provisional plan says what one state would say: both root modules are put into one by hand,
//! planned, and the downstream's changes are compared attribute by attribute, known and unknown.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use lockkeeper::domain::ids::{LockKey, RepoPath, StackName};
use lockkeeper::domain::layout::Tool;
use lockkeeper::domain::plan::FallbackTo;
use lockkeeper::git::stack_tree::StackTree;
use lockkeeper::tool::apply::Applied;
use lockkeeper::tool::cascade::feeds::Feeds;
use lockkeeper::tool::cascade::outcome::{Cascade, Outcome, ProvisionalPlan};
use lockkeeper::tool::cascade::run::provisional;
use lockkeeper::tool::error::ToolError;
use lockkeeper::tool::output::PlannedOutput;
use lockkeeper::tool::plan::{Inputs, plan};
use lockkeeper::tool::seed::prepare;
use lockkeeper::tool::site::LocalUpstream;
use serde_json::{Map, Value as Json, json};

use super::{Attempt, World, tools};

const NETWORK: &str = include_str!("provisional/network.tf");
const APP: &str = include_str!("provisional/app.tf");
const APP_JSON: &str = include_str!("provisional/app.tf.json");
const TAKER: &str = include_str!("provisional/taker.tf");
const READER: &str = include_str!("provisional/reader.tf");
const INNER: &str = include_str!("provisional/inner.tf");

/// Variables that an edge feeds, and the outputs that feed them.
const FED: [(&str, &str); 7] = [
    ("fed_port", "port"),
    ("fed_id", "vpc_id"),
    ("fed_vpc", "vpc"),
    ("fed_names", "names"),
    ("fed_valid", "vpc_id"),
    ("fed_list", "list"),
    ("fed_password", "password"),
];

fn path(text: &str) -> RepoPath {
    RepoPath::parse(text).expect("a path")
}

fn name(text: &str) -> StackName {
    StackName::parse(text).expect("a name")
}

/// A read of another stack's state, in the language.
fn read_of(stack: &str) -> String {
    format!(
        "data \"terraform_remote_state\" \"{stack}\" {{\n  backend = \"local\"\n  config = {{\n    path = \"${{path.module}}/../{stack}/terraform.tfstate\"\n  }}\n}}\n"
    )
}

type Outputs = BTreeMap<String, PlannedOutput>;

/// Stacks in `infra/`, planned one upon the other.
struct Chain {
    world: World,
    real: Vec<RepoPath>,
}

impl Chain {
    fn new(tool: Tool) -> Self {
        Chain {
            world: World::new(tool),
            real: Vec::new(),
        }
    }

    /// A fresh tree with the stack's folder and the local modules real, as a run lays it.
    async fn at(&self, stack: &str, upstreams: &[&str]) -> Attempt {
        let run = self.world.root().join("runs").join(uuid::Uuid::now_v7().to_string());
        let dir = path(&format!("infra/{stack}"));
        let real: Vec<&RepoPath> = self.real.iter().chain([&dir]).collect();
        let checkout = self.world.root().join("checkout");
        let tree = StackTree::new(&checkout, &run.join("tree"), real);
        tree.lay().await.expect("a tree");
        let state = |stack: &&str| LocalUpstream {
            file: path(&format!("infra/{stack}/terraform.tfstate")),
            key: LockKey::parse(&format!("local:infra/{stack}/terraform.tfstate:default")).expect("a key"),
            workspace: "default".to_owned(),
        };
        Attempt {
            stack: self.world.stack(dir.as_str()),
            tree: run.join("tree"),
            scratch: run.join("scratch"),
            attempt: run.join("attempt"),
            checkout,
            upstreams: upstreams.iter().map(state).collect(),
            stop: Default::default(),
        }
    }

    /// Plans for real; with `apply` applies too.
    async fn real(&self, stack: &str, upstreams: &[&str], inputs: &Inputs, apply: bool) -> Outputs {
        let at = self.at(stack, upstreams).await;
        let seed = prepare(&self.world.site, &at.at(), None).await.expect("a seed");
        let planned = match plan(&self.world.site, &at.at(), &seed, inputs).await {
            Ok(planned) => planned,
            Err(why) => panic!("{stack}: {}", why.failure().excerpt),
        };
        if apply {
            match self.world.applied(&at, &seed, &planned).await {
                Applied::Done { .. } => {}
                Applied::Failed(failure) => panic!("{stack}: {failure:?}"),
            }
        }
        planned.outputs
    }

    async fn provisional(&self, stack: &str, cascade: &Cascade) -> Result<Outcome, ToolError> {
        let at = self.at(stack, &[]).await;
        let seed = prepare(&self.world.site, &at.at(), None).await.expect("a seed");
        let outcome = provisional(&self.world.site, &at.at(), &seed, &Inputs::default(), cascade).await;
        let left: Vec<PathBuf> = fs::read_dir(&at.attempt)
            .map(|all| all.flatten().map(|entry| entry.path()).collect())
            .unwrap_or_default();
        assert_eq!(
            left,
            [] as [PathBuf; 0],
            "nothing that holds values is left, and no plan file"
        );
        outcome
    }

    async fn planned(&self, stack: &str, cascade: &Cascade) -> Box<ProvisionalPlan> {
        match self.provisional(stack, cascade).await {
            Ok(Outcome::Planned(plan)) => plan,
            Ok(Outcome::Deferred { upstream, failure }) => panic!("deferred behind {upstream}: {failure:?}"),
            Err(why) => panic!("{}\n{}", why, why.failure().excerpt),
        }
    }
}

/// Reads of these stacks in the stack's own folder.
fn reads(stack: &str, upstreams: &[(&str, &Outputs)]) -> Cascade {
    Cascade {
        feeds: Feeds {
            states: upstreams
                .iter()
                .map(|(up, _)| ((path(&format!("infra/{stack}")), (*up).to_owned()), name(up)))
                .collect(),
            variables: BTreeMap::new(),
        },
        upstreams: upstreams
            .iter()
            .map(|(up, outputs)| (name(up), (*outputs).clone()))
            .collect(),
        mocks: BTreeMap::new(),
        hidden: Default::default(),
    }
}

/// The oracle: one root that calls them all, made and run with nothing of ours.
struct Oracle {
    dir: PathBuf,
    program: PathBuf,
}

impl Oracle {
    fn new(world: &World, name: &str) -> Self {
        let dir = world.root().join(name);
        fs::create_dir_all(&dir).expect("a folder");
        let program = world.site.tools.files()[&world.tool].clone();
        Oracle { dir, program }
    }

    fn write(&self, file: &str, text: &str) {
        let file = self.dir.join(file);
        fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
        fs::write(file, text).expect("a file");
    }

    fn run(&self, args: &[&str]) -> Result<String, String> {
        let ended = Command::new(&self.program)
            .args(args)
            .current_dir(&self.dir)
            .env_remove("TF_CLI_CONFIG_FILE")
            .env("CHECKPOINT_DISABLE", "1")
            .output()
            .expect("it starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match ended.status.success() {
            true => Ok(text(&ended.stdout)),
            false => Err(text(&ended.stderr)),
        }
    }

    fn apply(&self) {
        self.run(&["init", "-no-color"]).expect("an init");
        self.run(&["apply", "-auto-approve", "-no-color"]).expect("an apply");
    }

    fn plan(&self) -> Result<Json, String> {
        if !self.dir.join(".terraform").exists() {
            self.run(&["init", "-no-color"])?;
        }
        self.run(&["plan", "-out=plan", "-no-color"])?;
        Ok(serde_json::from_str(&self.run(&["show", "-json", "plan"])?).expect("JSON"))
    }
}

/// A root's text as a module that is given what it would read.
fn as_module(text: &str, upstreams: &[&str]) -> String {
    let mut text = text.replace("terraform {\n  backend \"local\" {}\n}\n", "");
    for up in upstreams {
        // of a root, and of a module that reads the same state
        text = text
            .replace(&read_of(up), "")
            .replace(&read_of(up).replace("path.module", "path.root"), "");
        text = text.replace(
            &format!("depends_on = [data.terraform_remote_state.{up}]"),
            "depends_on = []",
        );
        text = text.replace(
            &format!("data.terraform_remote_state.{up}.outputs"),
            &format!("var.lk_{up}"),
        );
        text.push_str(&format!("\nvariable \"lk_{up}\" {{\n  type = any\n}}\n"));
    }
    text
}

/// What of a plan's JSON is compared: address to action, before, after and unknown.
fn changes(plan: &Json, prefix: &str) -> BTreeMap<String, Json> {
    let mut found = BTreeMap::new();
    for resource in plan["resource_changes"].as_array().into_iter().flatten() {
        let address = resource["address"].as_str().expect("an address");
        let Some(address) = address.strip_prefix(prefix) else {
            continue;
        };
        let change = &resource["change"];
        found.insert(
            address.to_owned(),
            json!({
                "actions": change["actions"],
                "before": plain(&change["before"]),
                "after": plain(&change["after"]),
                "unknown": marked(&change["after_unknown"]),
                "replace_paths": change["replace_paths"],
                "previous_address": resource["previous_address"].as_str().map(|previous| previous.replace(prefix, "")),
            }),
        );
    }
    found
}

/// Ids differ between two states, and secrets are hashed in ours.
fn plain(value: &Json) -> Json {
    match value {
        Json::String(text) => {
            let text = without_ids(text);
            let text = ["hunter2hunter1", "hunter2hunter2"]
                .iter()
                .fold(text, |text, secret| text.replace(secret, "SECRET"));
            Json::String(without_hashes(&text))
        }
        Json::Array(items) => Json::Array(items.iter().map(plain).collect()),
        Json::Object(all) => Json::Object(all.iter().map(|(name, value)| (name.clone(), plain(value))).collect()),
        other => other.clone(),
    }
}

/// `d95396f3-748b-2f52-3c20-6cdfc813d722` becomes `ID`.
fn without_ids(text: &str) -> String {
    const LONG: usize = 36;
    let is_id = |piece: &str| {
        let parts: Vec<usize> = piece.split('-').map(str::len).collect();
        parts == [8, 4, 4, 4, 12] && piece.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
    };
    let (mut out, mut rest) = (String::new(), text);
    while let Some(next) = rest.chars().next() {
        let (piece, length) = match rest.get(..LONG).filter(|piece| is_id(piece)) {
            Some(_) => ("ID", LONG),
            None => (&rest[..next.len_utf8()], next.len_utf8()),
        };
        out.push_str(piece);
        rest = &rest[length..];
    }
    out
}

/// `(sensitive:0a1b)` becomes `SECRET`.
fn without_hashes(text: &str) -> String {
    let mut pieces = text.split("(sensitive:");
    let first = pieces.next().unwrap_or_default().to_owned();
    pieces.fold(first, |out, piece| match piece.split_once(')') {
        Some((_, after)) => format!("{out}SECRET{after}"),
        None => format!("{out}(sensitive:{piece}"),
    })
}

/// A mirror of unknown parts without those that are known.
fn marked(mask: &Json) -> Json {
    match mask {
        Json::Bool(true) => Json::Bool(true),
        Json::Array(items) if items.iter().any(|item| !marked(item).is_null()) => {
            Json::Array(items.iter().map(marked).collect())
        }
        Json::Object(all) => {
            let all: Map<String, Json> = all
                .iter()
                .map(|(name, mask)| (name.clone(), marked(mask)))
                .filter(|(_, mask)| !mask.is_null())
                .collect();
            match all.is_empty() {
                true => Json::Null,
                false => Json::Object(all),
            }
        }
        _ => Json::Null,
    }
}

/// The outputs of the stack, as its own plan says them.
fn outputs(plan: &Json) -> BTreeMap<String, Json> {
    let all = plan["output_changes"].as_object().into_iter().flatten();
    let change = |change: &Json| json!({ "before": plain(&change["before"]), "after": plain(&change["after"]), "unknown": marked(&change["after_unknown"]) });
    all.map(|(name, output)| (name.clone(), change(output))).collect()
}

/// The same of a module, whose outputs are the attributes of one output of the root.
fn outputs_of_module(plan: &Json, output: &str) -> BTreeMap<String, Json> {
    let change = &plan["output_changes"][output];
    let part = |side: &Json, name: &str| {
        if *side == json!(true) {
            json!(true)
        } else {
            side[name].clone()
        }
    };
    let names: BTreeSet<&String> = [&change["before"], &change["after"], &change["after_unknown"]]
        .into_iter()
        .filter_map(Json::as_object)
        .flat_map(Map::keys)
        .collect();
    let one = |name: &String| {
        json!({ "before": plain(&part(&change["before"], name)), "after": plain(&part(&change["after"], name)),
                "unknown": marked(&part(&change["after_unknown"], name)) })
    };
    names.into_iter().map(|name| (name.clone(), one(name))).collect()
}

fn parsed(plan: &ProvisionalPlan) -> Json {
    serde_json::from_slice(plan.json.bytes()).expect("JSON")
}

/// Tells every difference, not only the first.
fn same(what: &str, ours: &BTreeMap<String, Json>, oracle: &BTreeMap<String, Json>) {
    let names: BTreeSet<&String> = ours.keys().chain(oracle.keys()).collect();
    let different: Vec<String> = names
        .into_iter()
        .filter(|name| ours.get(*name) != oracle.get(*name))
        .map(|name| {
            format!(
                "{name}\n  ours   {:?}\n  oracle {:?}",
                ours.get(name).map(Json::to_string),
                oracle.get(name).map(Json::to_string)
            )
        })
        .collect();
    assert!(
        different.is_empty(),
        "{what}: {} of {} differ:\n{}",
        different.len(),
        oracle.len(),
        different.join("\n")
    );
    assert!(!oracle.is_empty(), "{what}: nothing was compared");
}

/// Where one state says more: it knows that an id which a provider will make is not null. A plan says of an output only
/// that it is unknown.
const LESS_KNOWN: [&str; 1] = ["terraform_data.null_or_not"];

/// Takes those out, after proof that they are unknown in ours and nothing is contradicted.
fn without_less_known(
    mut all: BTreeMap<String, Json>,
    mut oracle: BTreeMap<String, Json>,
) -> [BTreeMap<String, Json>; 2] {
    for address in LESS_KNOWN {
        let (ours, theirs) = (all.remove(address), oracle.remove(address));
        let unknown = |change: Option<Json>| change.map(|change| change["unknown"]["input"].clone());
        assert_eq!(
            (unknown(ours), unknown(theirs)),
            (Some(json!(true)), Some(Json::Null)),
            "{address}"
        );
    }
    [all, oracle]
}

/// Nothing that only the rewrite knows is in anything that is kept.
fn nothing_of_the_scaffold(plan: &ProvisionalPlan) {
    for kept in [
        &plan.text,
        &String::from_utf8_lossy(plan.json.bytes()).into_owned(),
        &format!("{:?}", plan.plan),
    ] {
        for ours in ["lockkeeper", "timestamp()"] {
            let around =
                |at: usize| &kept[kept.floor_char_boundary(at.saturating_sub(200))..kept.ceil_char_boundary(at + 200)];
            assert_eq!(kept.find(ours).map(around), None);
        }
    }
}

fn shapes_in(chain: &mut Chain, version: &str) {
    let world = &chain.world;
    world.write("infra/network/main.tf", &NETWORK.replace("VERSION", version));
    world.write(
        "infra/app/main.tf",
        &APP.replace("\"net\"", "\"network\"")
            .replace("state.net", "state.network"),
    );
    world.write(
        "infra/app/more.tf.json",
        &APP_JSON.replace("state.net", "state.network"),
    );
    world.write("modules/taker/main.tf", TAKER);
    let reader = |text: &str| {
        text.replace("\"net\"", "\"network\"")
            .replace("state.net", "state.network")
    };
    world.write("modules/reader/main.tf", &reader(READER));
    world.write("modules/reader/inner/main.tf", &reader(INNER));
    chain.real = ["modules/taker", "modules/reader", "modules/reader/inner"]
        .map(path)
        .to_vec();
}

fn shapes_oracle(chain: &Chain, oracle: &Oracle) {
    let checkout = chain.world.root().join("checkout");
    let text = |file: &str| fs::read_to_string(checkout.join(file)).expect("a file");
    let give = |text: String| {
        ["../../modules/reader", "./inner"]
            .into_iter()
            .fold(text, |text, source| {
                text.replace(
                    &format!("source = \"{source}\""),
                    &format!("source = \"{source}\"\n  lk_network = var.lk_network"),
                )
            })
    };
    let module = |file: &str| give(as_module(&text(file), &["network"])).replace("../../modules/", "../");
    oracle.write("up/main.tf", &as_module(&text("infra/network/main.tf"), &[]));
    oracle.write("down/main.tf", &module("infra/app/main.tf"));
    oracle.write(
        "down/more.tf.json",
        &text("infra/app/more.tf.json").replace("data.terraform_remote_state.network.outputs", "var.lk_network"),
    );
    oracle.write("taker/main.tf", TAKER);
    oracle.write("reader/main.tf", &module("modules/reader/main.tf"));
    oracle.write("reader/inner/main.tf", &module("modules/reader/inner/main.tf"));
    let fed: String = FED
        .iter()
        .map(|(variable, output)| format!("  {variable} = module.up.{output}\n"))
        .collect();
    oracle.write(
        "main.tf",
        &format!(
            "module \"up\" {{\n  source = \"./up\"\n}}\nmodule \"down\" {{\n  source = \"./down\"\n  lk_network = module.up\n{fed}}}\noutput \"down\" {{\n  value = module.down\n  sensitive = true\n}}\n"
        ),
    );
}

fn shapes_cascade(network: &Outputs) -> Cascade {
    let mut cascade = reads("app", &[("network", network)]);
    for module in ["modules/reader", "modules/reader/inner"] {
        cascade
            .feeds
            .states
            .insert((path(module), "network".to_owned()), name("network"));
    }
    for (variable, output) in FED {
        cascade
            .feeds
            .variables
            .insert(variable.to_owned(), (name("network"), output.to_owned()));
    }
    cascade
}

#[tokio::test]
async fn every_shape_is_planned_as_in_one_state() {
    assert!(
        APP.matches("# shape: ").count() >= 40,
        "the proof is as wide as it says"
    );
    for tool in tools() {
        let mut chain = Chain::new(tool);
        shapes_in(&mut chain, "1");
        let oracle = Oracle::new(&chain.world, "oracle");
        shapes_oracle(&chain, &oracle);

        // nothing was ever applied
        let network = chain.real("network", &[], &Inputs::default(), false).await;
        let first = chain.planned("app", &shapes_cascade(&network)).await;
        nothing_of_the_scaffold(&first);
        let expected = oracle.plan().expect("the oracle's plan");
        let ours = parsed(&first);
        let [mine, theirs] = without_less_known(changes(&ours, ""), changes(&expected, "module.down."));
        same(&format!("{tool:?}, first deployment"), &mine, &theirs);
        same(
            &format!("{tool:?}, first outputs"),
            &outputs(&ours),
            &outputs_of_module(&expected, "down"),
        );
        assert!(!first.text.contains("hunter2"), "{}", first.text);

        // both applied, then the network changes
        chain.real("network", &[], &Inputs::default(), true).await;
        let applied = chain.real("network", &[], &Inputs::default(), false).await;
        let mut inputs = Inputs::default();
        for (variable, output) in FED {
            let value = applied[output].prior.clone().expect("it was applied");
            inputs.variables.insert(variable.to_owned(), value);
        }
        chain.real("app", &["network"], &inputs, true).await;
        oracle.apply();
        shapes_in(&mut chain, "2");
        shapes_oracle(&chain, &oracle);
        let network = chain.real("network", &[], &Inputs::default(), false).await;
        let second = chain.planned("app", &shapes_cascade(&network)).await;
        nothing_of_the_scaffold(&second);
        let expected = oracle.plan().expect("the oracle's plan");
        let ours = parsed(&second);
        let [mine, theirs] = without_less_known(changes(&ours, ""), changes(&expected, "module.down."));
        same(&format!("{tool:?}, change"), &mine, &theirs);
        same(
            &format!("{tool:?}, outputs"),
            &outputs(&ours),
            &outputs_of_module(&expected, "down"),
        );

        for kept in [&second.text, &ours.to_string(), &format!("{:?}", second.plan)] {
            assert!(!kept.contains("hunter2"), "a secret of the upstream: {kept}");
        }
        let line = second
            .text
            .lines()
            .find_map(|line| line.strip_prefix("Plan: "))
            .expect("a line of counts");
        let counts = second.counts;
        assert_eq!(
            line,
            format!(
                "{} to add, {} to change, {} to destroy.",
                counts.add, counts.change, counts.destroy
            )
        );
        assert!(second.text.contains("+ create\n") && second.text.contains("will perform the following actions"));
        assert_eq!(second.provisional.upstreams, BTreeSet::from([name("network")]));
        assert!(second.provisional.fallbacks.is_empty() && second.plan.unreviewed.is_empty());
        assert!(second.unread.is_empty(), "{:?}", second.unread);
        // the two preconditions' one instance, the check, the validation
        assert_eq!(second.provisional.not_evaluated, 3);
        assert_eq!(second.provisional.read_today, [] as [String; 0]);
    }
}

const CLUSTER: &str = "resource \"terraform_data\" \"cluster\" {\n  input            = data.terraform_remote_state.network.outputs.cidr\n  triggers_replace = data.terraform_remote_state.network.outputs.vpc_id\n}\nresource \"terraform_data\" \"pool\" {\n  for_each = data.terraform_remote_state.network.outputs.zones\n  input    = \"${each.key} ${terraform_data.cluster.id}\"\n}\noutput \"endpoint\" {\n  value = \"https://${terraform_data.cluster.id}\"\n}\noutput \"cidr\" {\n  value = data.terraform_remote_state.network.outputs.cidr\n}\noutput \"vpc\" {\n  value = data.terraform_remote_state.network.outputs.vpc\n}\noutput \"connection\" {\n  value = \"pg://${data.terraform_remote_state.network.outputs.password}@db\"\n}\noutput \"pools\" {\n  value = { for key, pool in terraform_data.pool : key => pool.id }\n}\n";
const TOP: &str = "resource \"terraform_data\" \"app\" {\n  input = [data.terraform_remote_state.cluster.outputs.endpoint, data.terraform_remote_state.network.outputs.cidr]\n}\nresource \"terraform_data\" \"vpc\" {\n  input = [data.terraform_remote_state.cluster.outputs.vpc, data.terraform_remote_state.network.outputs.vpc_id]\n}\nresource \"terraform_data\" \"pools\" {\n  for_each = data.terraform_remote_state.cluster.outputs.pools\n  input    = each.value\n}\nresource \"terraform_data\" \"known\" {\n  input = data.terraform_remote_state.cluster.outputs.cidr\n}\nresource \"terraform_data\" \"secret\" {\n  input = data.terraform_remote_state.cluster.outputs.connection\n}\noutput \"url\" {\n  value = \"${data.terraform_remote_state.cluster.outputs.endpoint}/app\"\n}\n";

#[tokio::test]
async fn three_levels_and_a_diamond_are_planned_as_in_one_state() {
    const BACKEND: &str = "terraform {\n  backend \"local\" {}\n}\n";
    for tool in tools() {
        let chain = Chain::new(tool);
        let world = &chain.world;
        let cluster = format!("{BACKEND}{}{CLUSTER}", read_of("network"));
        let app = format!("{BACKEND}{}{}{TOP}", read_of("network"), read_of("cluster"));
        world.write("infra/cluster/main.tf", &cluster);
        world.write("infra/app/main.tf", &app);
        let oracle = Oracle::new(world, "oracle");
        oracle.write("cluster/main.tf", &as_module(&cluster, &["network"]));
        oracle.write("app/main.tf", &as_module(&app, &["network", "cluster"]));
        oracle.write(
            "main.tf",
            "module \"network\" {\n  source = \"./network\"\n}\nmodule \"cluster\" {\n  source = \"./cluster\"\n  lk_network = module.network\n}\nmodule \"app\" {\n  source = \"./app\"\n  lk_network = module.network\n  lk_cluster = module.cluster\n}\noutput \"app\" {\n  value = module.app\n}\n",
        );
        for version in ["1", "2"] {
            world.write("infra/network/main.tf", &NETWORK.replace("VERSION", version));
            oracle.write("network/main.tf", &as_module(&NETWORK.replace("VERSION", version), &[]));

            let network = chain.real("network", &[], &Inputs::default(), false).await;
            let middle = chain
                .planned("cluster", &reads("cluster", &[("network", &network)]))
                .await;
            let mut cascade = reads("app", &[("network", &network), ("cluster", &middle.outputs)]);
            cascade.hidden = middle.hidden.clone();
            let top = chain.planned("app", &cascade).await;

            let expected = oracle.plan().expect("the oracle's plan");
            for (stack, plan) in [("cluster", &middle), ("app", &top)] {
                nothing_of_the_scaffold(plan);
                // a secret of the network, which the cluster passes on without its mark
                assert!(
                    !plan.text.contains("hunter2") && !parsed(plan).to_string().contains("hunter2"),
                    "{}",
                    plan.text
                );
                let what = format!("{tool:?}, {stack} at {version}");
                same(
                    &what,
                    &changes(&parsed(plan), ""),
                    &changes(&expected, &format!("module.{stack}.")),
                );
            }
            same("outputs", &outputs(&parsed(&top)), &outputs_of_module(&expected, "app"));
            if version == "1" {
                chain.real("network", &[], &Inputs::default(), true).await;
                chain.real("cluster", &["network"], &Inputs::default(), true).await;
                chain
                    .real("app", &["network", "cluster"], &Inputs::default(), true)
                    .await;
                oracle.apply();
            }
        }
    }
}

/// Where unknown meets the tool's limits: what is refused, the title of the refusal, and what is planned with the value
/// that was applied last.
const REFUSED: [(&str, &str, &[&str]); 9] = [
    (
        "resource \"terraform_data\" \"x\" {\n  count = length(data.terraform_remote_state.network.outputs.list)\n  input = count.index\n}\n",
        "Invalid count argument",
        &["terraform_data.x[0]", "terraform_data.x[1]"],
    ),
    (
        "locals {\n  wanted = data.terraform_remote_state.network.outputs.vpc_id == \"\"\n}\nresource \"terraform_data\" \"x\" {\n  count = local.wanted ? 0 : 1\n}\n",
        "Invalid count argument",
        &["terraform_data.x[0]"],
    ),
    (
        "resource \"terraform_data\" \"x\" {\n  for_each = toset(data.terraform_remote_state.network.outputs.list)\n  input    = each.key\n}\n",
        "Invalid for_each argument",
        &["terraform_data.x[\"l-1\"]", "terraform_data.x[\"m\"]"],
    ),
    (
        "resource \"terraform_data\" \"x\" {\n  for_each = {\n    for index, name in data.terraform_remote_state.network.outputs.list : name => index\n  }\n}\n",
        "Invalid for_each argument",
        &["terraform_data.x[\"l-1\"]", "terraform_data.x[\"m\"]"],
    ),
    (
        "module \"x\" {\n  source   = \"../../modules/taker\"\n  for_each = toset(data.terraform_remote_state.network.outputs.list)\n  cidr     = each.key\n  id       = \"i\"\n  vpc      = { id = \"i\" }\n  zones    = []\n}\n",
        "Invalid for_each argument",
        &[
            "module.x[\"l-1\"].terraform_data.taken",
            "module.x[\"l-1\"].terraform_data.zones",
            "module.x[\"m\"].terraform_data.taken",
            "module.x[\"m\"].terraform_data.zones",
        ],
    ),
    (
        "module \"x\" {\n  source = \"../../modules/taker\"\n  count  = data.terraform_remote_state.network.outputs.vpc_id == \"\" ? 0 : 1\n  cidr   = \"c\"\n  id     = \"i\"\n  vpc    = { id = \"i\" }\n  zones  = []\n}\n",
        "Invalid count argument",
        &["module.x[0].terraform_data.taken", "module.x[0].terraform_data.zones"],
    ),
    (
        "module \"x\" {\n  source = \"../../modules/counting\"\n  names  = data.terraform_remote_state.network.outputs.list\n}\n",
        "Invalid count argument",
        &["module.x.terraform_data.inner[0]", "module.x.terraform_data.inner[1]"],
    ),
    (
        "resource \"terraform_data\" \"x\" {\n  for_each = toset(data.terraform_remote_state.network.outputs.subnet_ids)\n}\n",
        "Invalid for_each argument",
        &["terraform_data.x[\"ID\"]"],
    ),
    (
        "import {\n  to = terraform_data.x\n  id = data.terraform_remote_state.network.outputs.vpc_id\n}\nresource \"terraform_data\" \"x\" {}\n",
        "Invalid import id argument",
        &["terraform_data.x"],
    ),
];

#[tokio::test]
async fn what_the_tool_refuses_stands_on_what_was_applied_last_or_is_deferred() {
    const COUNTING: &str = "variable \"names\" {\n  type = list(string)\n}\nresource \"terraform_data\" \"inner\" {\n  count = length(var.names)\n  input = var.names[count.index]\n}\n";
    for tool in tools() {
        let mut chain = Chain::new(tool);
        chain.world.write("modules/taker/main.tf", TAKER);
        chain.world.write("modules/counting/main.tf", COUNTING);
        chain.real = ["modules/taker", "modules/counting"].map(path).to_vec();
        let mut all = Vec::new();
        for version in ["1", "2"] {
            chain
                .world
                .write("infra/network/main.tf", &NETWORK.replace("VERSION", version));
            all.push(chain.real("network", &[], &Inputs::default(), version == "1").await);
        }
        let (never, network) = (&all[0], &all[1]);
        for (index, (text, title, planned)) in REFUSED.into_iter().enumerate() {
            let root = format!(
                "terraform {{\n  backend \"local\" {{}}\n}}\n{}{text}",
                read_of("network")
            );
            chain.world.write("infra/app/main.tf", &root);
            let what = format!("{tool:?}: {text}");
            // one state refuses it too; an import stands in a root module alone
            if !text.contains("import") {
                let oracle = Oracle::new(&chain.world, &format!("oracle{index}"));
                oracle.write("up/main.tf", &as_module(&NETWORK.replace("VERSION", "2"), &[]));
                oracle.write(
                    "down/main.tf",
                    &as_module(&root, &["network"]).replace("../../modules/", "../"),
                );
                oracle.write("taker/main.tf", TAKER);
                oracle.write("counting/main.tf", COUNTING);
                oracle.write("main.tf", "module \"up\" {\n  source = \"./up\"\n}\nmodule \"down\" {\n  source = \"./down\"\n  lk_network = module.up\n}\n");
                let refused = oracle.plan().expect_err("one state refuses it too");
                assert!(refused.contains(title), "{what}: {refused}");
            }

            let plan = chain.planned("app", &reads("app", &[("network", network)])).await;
            nothing_of_the_scaffold(&plan);
            let ours = changes(&parsed(&plan), "");
            let addresses: Vec<String> = ours.keys().map(|address| without_ids(address)).collect();
            assert_eq!(addresses, planned, "{what}");
            let fallbacks = &plan.provisional.fallbacks;
            assert_eq!(fallbacks.len(), 1, "{what}: {fallbacks:?}");
            assert_eq!(fallbacks[0].to, FallbackTo::LastApplied);
            assert!(
                fallbacks[0].because.contains("infra/app/main.tf:") || text.contains("counting"),
                "{fallbacks:?}"
            );
            let marked: Vec<&String> = plan.plan.unreviewed.keys().collect();
            assert_eq!(marked.len(), ours.len(), "{what}: all of it rests on a fallback");
            assert!(!fallbacks[0].attributes.is_empty());
            let json = parsed(&plan);
            let in_json = json["resource_changes"].as_array().into_iter().flatten();
            assert!(in_json.clone().count() > 0);
            for resource in in_json {
                assert_eq!(resource["change"]["after_unreviewed"], true, "{what}");
            }

            // nothing was ever applied, and nothing was declared
            match chain.provisional("app", &reads("app", &[("network", never)])).await {
                Ok(Outcome::Deferred { upstream, failure }) => {
                    assert_eq!(upstream, name("network"));
                    assert!(failure.sentence.contains("was never applied"), "{failure:?}");
                }
                Ok(Outcome::Planned(plan)) => panic!("{what}: {}", plan.text),
                Err(why) => panic!("{what}: {}", why.failure().excerpt),
            }
        }
        // a mock stands for what was never applied
        let mut cascade = reads("app", &[("network", never)]);
        cascade
            .mocks
            .insert((name("network"), "list".to_owned()), json!(["mocked"]));
        let root = format!(
            "terraform {{\n  backend \"local\" {{}}\n}}\n{}{}",
            read_of("network"),
            REFUSED[2].0
        );
        chain.world.write("infra/app/main.tf", &root);
        let plan = chain.planned("app", &cascade).await;
        assert_eq!(plan.provisional.fallbacks[0].to, FallbackTo::Mock);
        assert!(
            plan.plan.unreviewed.contains_key("terraform_data.x[\"mocked\"]"),
            "{:?}",
            plan.plan.unreviewed
        );
    }
}

/// One downstream of the changed network, by itself.
async fn alone(chain: &Chain, text: &str) -> Result<Outcome, ToolError> {
    for version in ["1", "2"] {
        chain
            .world
            .write("infra/network/main.tf", &NETWORK.replace("VERSION", version));
        if version == "1" {
            chain.real("network", &[], &Inputs::default(), true).await;
        }
    }
    let network = chain.real("network", &[], &Inputs::default(), false).await;
    again(chain, text, &network).await
}

async fn again(chain: &Chain, text: &str, network: &Outputs) -> Result<Outcome, ToolError> {
    let root = format!(
        "terraform {{\n  backend \"local\" {{}}\n}}\n{}{text}",
        read_of("network")
    );
    chain.world.write("infra/app/main.tf", &root);
    chain.provisional("app", &reads("app", &[("network", network)])).await
}

#[tokio::test]
async fn a_mistake_fails_and_says_the_authors_line_and_what_is_not_there_yet_is_deferred() {
    for tool in tools() {
        let chain = Chain::new(tool);
        let first = alone(
            &chain,
            "resource \"terraform_data\" \"x\" {\n  input = data.terraform_remote_state.network.outputs.gone\n}\n",
        )
        .await;
        let network = chain.real("network", &[], &Inputs::default(), false).await;
        let vanished = first.err().expect("a vanished output fails").failure();
        assert_eq!(places(&vanished), ["infra/app/main.tf:11"], "{vanished:?}");
        assert!(vanished.sentence.contains("gone"), "{vanished:?}");

        for (text, line, words) in [
            (
                "resource \"terraform_data\" \"x\" {\n  input = data.terraform_remote_state.network.outputs.vpc.none\n}\n",
                11,
                "outputs.vpc",
            ),
            (
                "resource \"terraform_data\" \"x\" {\n  nope  = data.terraform_remote_state.network.outputs.vpc_id\n}\n",
                11,
                "nope",
            ),
            (
                "locals {\n  sum = 1 + data.terraform_remote_state.network.outputs.names\n}\noutput \"sum\" {\n  value = local.sum\n}\n",
                11,
                "names",
            ),
            (
                "resource \"terraform_data\" \"x\" {\n  lifecycle {\n    precondition {\n      condition     = data.terraform_remote_state.network.outputs.cidr == \"10.0.0.0/16\"\n      error_message = \"moved to ${data.terraform_remote_state.network.outputs.cidr}\"\n    }\n  }\n}\n",
                13,
                "moved to 10.9.0.0/16",
            ),
        ] {
            let Err(why) = again(&chain, text, &network).await else {
                panic!("{tool:?} {text}: it fails")
            };
            let failure = why.failure();
            assert_eq!(
                places(&failure),
                [format!("infra/app/main.tf:{line}")],
                "{text}: {failure:?}"
            );
            assert!(failure.excerpt.contains(words), "{failure:?}");
            assert!(!failure.excerpt.contains("lockkeeper"), "{}", failure.excerpt);
            let quoted = failure
                .excerpt
                .lines()
                .find(|quoted| quoted.trim_start().starts_with(&format!("{line}:")));
            let written = fs::read_to_string(chain.world.root().join("checkout/infra/app/main.tf")).expect("a file");
            let written = written.lines().nth(line - 1).expect("a line").trim();
            assert!(
                quoted.is_some_and(|quoted| quoted.ends_with(written)),
                "{quoted:?} is {written:?}"
            );
        }

        // a rule of a variable that is given something partly unknown
        let ruled = "variable \"vpc\" {\n  type = object({ id = string, cidr = string })\n  validation {\n    condition     = var.vpc.cidr == \"10.0.0.0/16\"\n    error_message = \"it moved\"\n  }\n}\nresource \"terraform_data\" \"x\" {\n  input = var.vpc.id\n}\n";
        chain.world.write(
            "infra/app/main.tf",
            &format!("terraform {{\n  backend \"local\" {{}}\n}}\n{ruled}"),
        );
        let mut cascade = reads("app", &[("network", &network)]);
        cascade
            .feeds
            .variables
            .insert("vpc".to_owned(), (name("network"), "vpc".to_owned()));
        let failure = match chain.provisional("app", &cascade).await {
            Err(why) => why.failure(),
            Ok(_) => panic!("{tool:?}: it fails"),
        };
        assert_eq!(places(&failure), ["infra/app/main.tf:6"], "{failure:?}");
        assert!(
            failure.excerpt.contains("it moved") && !failure.excerpt.contains("lockkeeper"),
            "{failure:?}"
        );

        // the tool refuses what is the author's own in every plan
        let own = "resource \"terraform_data\" \"own\" {\n  input = data.terraform_remote_state.network.outputs.same\n}\nresource \"terraform_data\" \"x\" {\n  count = length(terraform_data.own.id)\n}\n";
        let Err(why) = again(&chain, own, &network).await else {
            panic!("{tool:?}: it fails")
        };
        assert_eq!(places(&why.failure()), ["infra/app/main.tf:14"]);

        let missing = "data \"terraform_remote_state\" \"other\" {\n  backend = \"local\"\n  config  = { path = \"none.tfstate\" }\n}\nresource \"terraform_data\" \"x\" {\n  input = data.terraform_remote_state.network.outputs.cidr\n}\noutput \"y\" {\n  value = data.terraform_remote_state.other.outputs\n}\n";
        match again(&chain, missing, &network).await {
            Ok(Outcome::Deferred { upstream, failure }) => {
                assert_eq!(upstream, name("network"));
                assert!(failure.excerpt.contains("Unable to find remote state"), "{failure:?}");
                assert_eq!(places(&failure), ["infra/app/main.tf:10"]);
            }
            Ok(Outcome::Planned(plan)) => panic!("{}", plan.text),
            Err(why) => panic!("{}", why.failure().excerpt),
        }
    }
}

fn places(failure: &lockkeeper::domain::run::Failure) -> Vec<String> {
    failure
        .located
        .iter()
        .filter_map(|located| located.place.as_ref())
        .map(ToString::to_string)
        .collect()
}

#[tokio::test]
async fn a_data_source_waits_for_what_changes_and_reads_what_stays() {
    for tool in tools() {
        let chain = Chain::new(tool);
        let other = |name: &str, output: &str| {
            format!(
                "data \"terraform_remote_state\" \"{name}\" {{\n  backend = \"local\"\n  config = {{\n    path = \"states/${{data.terraform_remote_state.network.outputs.{output}}}\"\n  }}\n}}\noutput \"{name}\" {{\n  value = data.terraform_remote_state.{name}.outputs\n}}\n"
            )
        };
        chain.world.write("infra/app/states/eu-central-1", "{\"version\":4,\"terraform_version\":\"1.11.4\",\"serial\":1,\"lineage\":\"a\",\"outputs\":{},\"resources\":[]}");
        let text = format!("{}{}", other("changed", "port"), other("stays", "same"));
        let plan = match alone(&chain, &text).await {
            Ok(Outcome::Planned(plan)) => plan,
            Ok(Outcome::Deferred { failure, .. }) => panic!("{tool:?}: {failure:?}"),
            Err(why) => panic!("{tool:?}: {}", why.failure().excerpt),
        };
        nothing_of_the_scaffold(&plan);
        assert!(
            plan.text
                .contains("# data.terraform_remote_state.changed will be read during apply"),
            "{}",
            plan.text
        );
        assert!(
            plan.text.contains("Plan: 0 to add, 0 to change, 0 to destroy."),
            "{}",
            plan.text
        );
        assert!(!plan.text.contains("+ create"), "{}", plan.text);
        assert_eq!(plan.counts.add, 0);
        assert_eq!(plan.provisional.read_today, ["data.terraform_remote_state.stays"]);
        let json = parsed(&plan);
        assert_eq!(json["output_changes"]["changed"]["after_unknown"], true);
        assert_eq!(json["output_changes"]["stays"]["after"], json!({}));
    }
}

#[tokio::test]
async fn where_nothing_is_left_to_do_the_tools_own_sentence_says_so() {
    for tool in tools() {
        let (mut world, log) = World::counting(tool);
        world.site.local_state = lockkeeper::tool::site::LocalState::Keep;
        let chain = Chain {
            world,
            real: Vec::new(),
        };
        let text =
            "resource \"terraform_data\" \"x\" {\n  input = data.terraform_remote_state.network.outputs.same\n}\n";
        let root = format!(
            "terraform {{\n  backend \"local\" {{}}\n}}\n{}{text}",
            read_of("network")
        );
        chain.world.write("infra/app/main.tf", &root);
        chain
            .world
            .write("infra/network/main.tf", &NETWORK.replace("VERSION", "1"));
        chain.real("network", &[], &Inputs::default(), true).await;
        chain.real("app", &["network"], &Inputs::default(), true).await;
        chain
            .world
            .write("infra/network/main.tf", &NETWORK.replace("VERSION", "2"));
        let network = chain.real("network", &[], &Inputs::default(), false).await;
        fs::write(&log, "").expect("a log");
        let plan = chain.planned("app", &reads("app", &[("network", &network)])).await;
        assert_eq!(
            fs::read_to_string(&log).expect("a log"),
            "plan\nshow\n",
            "as many processes as any plan"
        );
        assert!(
            plan.text
                .starts_with("No changes. Your infrastructure matches the configuration.\n\n"),
            "{}",
            plan.text
        );
        assert!(plan.counts.is_empty() && plan.plan.is_empty());
        assert_eq!(
            parsed(&plan)["applyable"],
            if tool == Tool::Terraform {
                json!(false)
            } else {
                parsed(&plan)["applyable"].clone()
            }
        );
    }
}
