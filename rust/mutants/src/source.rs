//! A file, its mistakes, and where things stand in it.

use proc_macro2::LineColumn;
use serde_json::Value;

/// What kind of mistake it is: `genre` of cargo-mutants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A function returns something at once.
    FunctionValue,
    /// Another operator between two values.
    BinaryOperator,
    /// An operator before a value is left out.
    UnaryOperator,
    /// An arm of a match is left out.
    Arm,
    /// The guard of an arm is always, or never, true.
    Guard,
    /// A field keeps its default.
    Field,
}

/// One mistake of the list.
#[derive(Clone, Debug)]
pub struct Mistake {
    /// Its place in the list, from 1.
    pub number: usize,
    pub kind: Kind,
    /// The first character of what it replaces: line and column, from 1.
    pub start: (usize, usize),
    /// What stands there instead.
    pub replacement: String,
}

impl Mistake {
    /// The mistake that an entry of the list describes.
    pub fn read(number: usize, entry: &Value) -> Option<Mistake> {
        let kind = match entry["genre"].as_str()? {
            "FnValue" => Kind::FunctionValue,
            "BinaryOperator" => Kind::BinaryOperator,
            "UnaryOperator" => Kind::UnaryOperator,
            "MatchArm" => Kind::Arm,
            "MatchArmGuard" => Kind::Guard,
            "StructField" => Kind::Field,
            _ => return None,
        };
        let place = |what: &str| usize::try_from(entry["span"]["start"][what].as_u64()?).ok();
        Some(Mistake {
            number,
            kind,
            start: (place("line")?, place("column")?),
            replacement: entry["replacement"].as_str()?.to_owned(),
        })
    }
}

/// The text of a file.
pub struct Source {
    pub text: String,
    /// The offset of the first octet of each line.
    lines: Vec<usize>,
}

impl Source {
    pub fn new(text: String) -> Source {
        let lines = std::iter::once(0)
            .chain(text.match_indices('\n').map(|(at, _)| at + 1))
            .collect();
        Source { text, lines }
    }

    /// The offset of a place: line and column, from 1.
    pub fn offset(&self, (line, column): (usize, usize)) -> usize {
        let start = self.lines[line - 1];
        let rest = &self.text[start..];
        start
            + rest
                .char_indices()
                .nth(column - 1)
                .map_or(rest.len(), |(at, _)| at)
    }

    /// The offset of a place as syn has it.
    pub fn offset_of(&self, place: LineColumn) -> usize {
        self.offset((place.line, place.column + 1))
    }
}
