//! Puts the mistakes that `cargo mutants --list --json` names into the sources, all at once, each
//! behind a switch: the program is compiled once, and the environment says which mistake it makes.
//!
//! `evws-mutants LIST LEFT_OUT FROM TO` reads the files that LIST names below FROM and writes them
//! below TO. A mistake's number is its place in LIST, from 1. LEFT_OUT has the numbers, a line
//! each, of those to leave out, such as what does not compile. Prints the numbers of those that
//! have no switch: where a constant is computed, for one.

mod source;
mod switches;

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fs;
use std::path::Path;

use source::{Mistake, Source};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [list, left_out, from, to] = arguments.as_slice() else {
        return Err("usage: evws-mutants LIST LEFT_OUT FROM TO".into());
    };
    let left_out: BTreeSet<usize> = fs::read_to_string(left_out)?
        .split_whitespace()
        .map(str::parse)
        .collect::<Result<_, _>>()?;
    let list: serde_json::Value = serde_json::from_str(&fs::read_to_string(list)?)?;
    let mut files: BTreeMap<&str, Vec<Mistake>> = BTreeMap::new();
    for (place, entry) in list
        .as_array()
        .ok_or("the list is no list")?
        .iter()
        .enumerate()
    {
        let mistake =
            Mistake::read(place + 1, entry).ok_or("an entry of the list lacks something")?;
        let file = entry["file"]
            .as_str()
            .ok_or("an entry of the list lacks its file")?;
        // A file without mistakes is written, too: it may have had some before.
        let mistakes = files.entry(file).or_default();
        if !left_out.contains(&mistake.number) {
            mistakes.push(mistake);
        }
    }
    for (file, mistakes) in files {
        let source = Source::new(fs::read_to_string(Path::new(from).join(file))?);
        let switch = match file.starts_with("rust/proto/") {
            true => "crate::mistake::is_made",
            false => "evws_proto::mistake::is_made",
        };
        let (text, without_switch) = switches::put(&source, &mistakes, switch)?;
        for number in without_switch {
            println!("{number}");
        }
        let path = Path::new(to).join(file);
        // What is the same keeps its time, and is not compiled again.
        if fs::read_to_string(&path).ok().as_deref() != Some(&text) {
            fs::write(path, text)?;
        }
    }
    Ok(())
}
