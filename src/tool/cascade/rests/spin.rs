//! Owns the spinning of the web from the texts of every instance of a module.

use crate::domain::located::Place;
use crate::tool::cascade::rests::instances::{Instance, Instances, Mode};
use crate::tool::cascade::rests::report::Report;
use crate::tool::cascade::rests::web::{Item, Owner, Web, passed};
use crate::tool::cascade::rests::{On, Position, What};
use crate::tool::cascade::texts::{Argument, Block, File};

/// Threads everything, and says which nodes are asked for.
pub fn spin<'m, 't>(instances: &Instances<'m, 't>, web: &mut Web<'m, 't, '_>) -> Vec<(usize, Report)> {
    let mut reports = Vec::new();
    for (at, instance) in instances.all.iter().enumerate() {
        let mut spinner = Spinner {
            at,
            instance,
            instances,
            web: &mut *web,
            reports: &mut reports,
        };
        spinner.instance();
    }
    reports
}

struct Spinner<'w, 'm, 't, 'i> {
    at: usize,
    instance: &'w Instance<'m, 't>,
    instances: &'w Instances<'m, 't>,
    web: &'w mut Web<'m, 't, 'i>,
    reports: &'w mut Vec<(usize, Report)>,
}

impl<'m, 't> Spinner<'_, 'm, 't, '_> {
    fn instance(&mut self) {
        let Some(index) = self.instances.index(self.at) else {
            return;
        };
        let exists = self.web.node(self.at, Item::Exists);
        if let Some((parent, call)) = self.instance.parent {
            let above = self.web.node(parent, Item::Exists);
            let repeat = self.web.node(parent, Item::CallRepeat(call));
            self.web.thread(exists, above);
            self.web.thread(exists, repeat);
        }
        for (name, arguments) in &index.locals {
            let node = self.web.node(self.at, Item::Local(name));
            arguments
                .iter()
                .for_each(|argument| self.argument(node, argument, Owner::Nobody));
        }
        let outputs = self.web.node(self.at, Item::Outputs);
        for (name, blocks) in &index.outputs {
            let node = self.web.node(self.at, Item::Output(name));
            self.web.thread(outputs, node);
            let value = blocks.iter().filter_map(|block| block.argument("value"));
            value.for_each(|argument| self.argument(node, argument, Owner::Nobody));
            if self.at == 0 {
                self.reports.push((node, Report::Output((*name).to_owned())));
            }
        }
        for (call, blocks) in &index.calls {
            blocks.iter().for_each(|(file, block)| self.call(call, file, block));
        }
        for ((mode, kind, name), blocks) in &index.objects {
            blocks
                .iter()
                .for_each(|(file, block)| self.object((*mode, kind, name), file, block));
            self.report_object((*mode, kind, name), exists);
        }
        for (file, block) in self.instance.module.blocks() {
            self.other(file, block);
        }
    }

    fn argument(&mut self, node: usize, argument: &'m Argument, owner: Owner<'m>) {
        for mention in &argument.mentions.all {
            self.web.mention(node, self.at, mention, owner);
        }
    }

    fn all_arguments(&mut self, node: usize, block: &'m Block, owner: Owner<'m>) {
        for argument in block
            .all_arguments()
            .into_iter()
            .filter(|argument| argument.name != "depends_on")
        {
            self.argument(node, argument, owner);
        }
    }

    /// A place that is reported on its own.
    fn position(&mut self, what: What, subject: &str, at: (&File<'t>, u32)) -> usize {
        let (file, line) = at;
        let path = self.instance.module.dir.join(file.name);
        let node = self.web.fresh();
        if let Some(path) = path {
            let position = Position {
                what,
                subject: subject.to_owned(),
                place: Place::line(path, line),
                on: On::new(),
            };
            self.reports.push((node, Report::Position(position)));
        }
        node
    }

    /// How often there is one of it.
    fn repeat(&mut self, repeat: usize, subject: &str, file: &'m File<'t>, block: &'m Block, owner: Owner<'m>) {
        let lifecycle = block.blocks.iter().filter(|inner| inner.kind == "lifecycle");
        let enabled = lifecycle
            .filter_map(|inner| inner.argument("enabled"))
            .map(|enabled| (What::Enabled, enabled));
        let count = block.argument("count").map(|count| (What::Count, count));
        let each = block.argument("for_each").map(|each| (What::ForEach, each));
        for (what, argument) in count.into_iter().chain(each).chain(enabled) {
            let node = self.position(what, subject, (file, argument.line));
            self.argument(node, argument, owner);
            self.web.thread(repeat, node);
        }
    }

    fn call(&mut self, call: &'m str, file: &'m File<'t>, block: &'m Block) {
        let owner = Owner::Call(call);
        let repeat = self.web.node(self.at, Item::CallRepeat(call));
        let address = format!("{}module.{call}", self.instance.path);
        self.repeat(repeat, &address, file, block, Owner::Nobody);
        let all = self.web.node(self.at, Item::Call(call));
        self.web.thread(all, repeat);
        self.all_arguments(all, block, owner);
        let Some(child) = self.instance.children.get(call).copied() else {
            return;
        };
        let Some(index) = self.instances.index(self.at) else {
            return;
        };
        for argument in &block.arguments {
            let node = self.web.node(child, Item::Variable(&argument.name));
            passed(index, call, &argument.name).for_each(|argument| self.argument(node, argument, owner));
        }
    }

    fn object(&mut self, (mode, kind, name): (Mode, &'m str, &'m str), file: &'m File<'t>, block: &'m Block) {
        let owner = Owner::Object(mode, kind, name);
        let whole = self.web.node(self.at, Item::Object(mode, kind, name));
        let repeat = self.web.node(self.at, Item::Repeat(mode, kind, name));
        self.web.thread(whole, repeat);
        let address = self.address((mode, kind, name));
        self.repeat(repeat, &address, file, block, Owner::Nobody);
        for argument in &block.arguments {
            if !matches!(argument.name.as_str(), "count" | "for_each" | "depends_on" | "provider") {
                let node = self.attribute((mode, kind, name), &argument.name);
                self.argument(node, argument, owner);
                self.web.thread(whole, node);
            }
        }
        for inner in &block.blocks {
            match inner.kind.as_str() {
                "lifecycle" => {
                    let triggers = inner.argument("replace_triggered_by").into_iter();
                    triggers.for_each(|triggers| self.argument(whole, triggers, owner));
                    self.conditions(&address, file, inner, owner);
                }
                "provisioner" | "connection" => {}
                nested => {
                    let attribute = if inner.is("dynamic", 1) { inner.label(0) } else { nested };
                    let node = self.attribute((mode, kind, name), attribute);
                    self.all_arguments(node, inner, owner);
                    self.web.thread(whole, node);
                }
            }
        }
    }

    fn address(&self, (mode, kind, name): (Mode, &str, &str)) -> String {
        let mode = match mode {
            Mode::Managed => "",
            Mode::Data => "data.",
            Mode::Ephemeral => "ephemeral.",
        };
        format!("{}{mode}{kind}.{name}", self.instance.path)
    }

    /// The node of an argument; it is reported once, however many files give it.
    fn attribute(&mut self, (mode, kind, name): (Mode, &'m str, &'m str), attribute: &'m str) -> usize {
        let node = self.web.node(self.at, Item::Attribute(mode, kind, name, attribute));
        if mode != Mode::Data {
            let address = self.address((mode, kind, name));
            self.reports
                .push((node, Report::Written(address, attribute.to_owned())));
        }
        node
    }

    fn report_object(&mut self, (mode, kind, name): (Mode, &'m str, &'m str), above: usize) {
        let address = self.address((mode, kind, name));
        let whole = self.web.node(self.at, Item::Object(mode, kind, name));
        let repeat = self.web.node(self.at, Item::Repeat(mode, kind, name));
        if mode == Mode::Data {
            let data = (self.instance.module.dir.clone(), kind.to_owned(), name.to_owned());
            for node in [whole, above] {
                self.reports.push((node, Report::Data(address.clone(), data.clone())));
            }
            return;
        }
        self.reports.push((whole, Report::Computed(address.clone())));
        for node in [repeat, above] {
            self.reports.push((node, Report::Exists(address.clone())));
        }
    }

    fn conditions(&mut self, subject: &str, file: &'m File<'t>, within: &'m Block, owner: Owner<'m>) {
        let is_condition = |kind: &str| matches!(kind, "precondition" | "postcondition" | "validation" | "assert");
        for block in within.blocks.iter().filter(|inner| is_condition(&inner.kind)) {
            let node = self.position(What::Condition, subject, (file, block.line));
            block
                .argument("condition")
                .into_iter()
                .for_each(|condition| self.argument(node, condition, owner));
        }
    }

    /// Blocks that are neither objects nor calls.
    fn other(&mut self, file: &'m File<'t>, block: &'m Block) {
        let path = &self.instance.path;
        match (block.kind.as_str(), block.labels.len()) {
            ("provider", 1) => {
                let alias = block.argument("alias").and_then(|alias| alias.literal.as_deref());
                let alias = alias.map(|alias| format!(".{alias}")).unwrap_or_default();
                let address = format!("{path}provider.{}{alias}", block.label(0));
                let node = self.web.fresh();
                self.all_arguments(node, block, Owner::Nobody);
                self.reports.push((node, Report::Provider(address)));
            }
            ("variable", 1) => {
                let subject = format!("{path}var.{}", block.label(0));
                self.conditions(&subject, file, block, Owner::Nobody);
            }
            ("output", 1) => {
                let subject = format!("{path}output.{}", block.label(0));
                self.conditions(&subject, file, block, Owner::Nobody);
            }
            ("check", 1) => {
                let subject = format!("{path}check.{}", block.label(0));
                self.conditions(&subject, file, block, Owner::Nobody);
            }
            ("import", 0) => self.import(file, block),
            _ => {}
        }
    }

    fn import(&mut self, file: &'m File<'t>, block: &'m Block) {
        let to = block.argument("to").and_then(|to| file.text.get(to.at.clone()));
        let subject: String = to.unwrap_or_default().trim_matches('"').chars().take(200).collect();
        let each = self.web.fresh();
        if let Some(argument) = block.argument("for_each") {
            let node = self.position(What::ForEach, &subject, (file, argument.line));
            self.argument(node, argument, Owner::Nobody);
            self.web.thread(each, node);
        }
        for argument in block
            .arguments
            .iter()
            .filter(|argument| matches!(argument.name.as_str(), "id" | "identity"))
        {
            let node = self.position(What::ImportId, &subject, (file, argument.line));
            self.argument(node, argument, Owner::Nobody);
            if argument.mentions.all.iter().any(|mention| mention.root == "each") {
                self.web.thread(node, each);
            }
        }
    }
}
