//! What is written in place of what may be mistaken.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use proc_macro2::Span;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Arm, BinOp, Expr, ExprBinary, ExprMatch, ExprStruct, ExprUnary, Pat};

use crate::source::{Kind, Mistake, Source};

/// The text of `source` with a switch for each of `mistakes`, and the numbers of those for which
/// there is none. `switch` is the path of the function that tells whether a mistake is to be made.
///
/// What a mistake adds stands between `/*<N*/` and `/*N>*/`, so that an error of the compiler can be
/// traced to it.
pub fn put(
    source: &Source,
    mistakes: &[Mistake],
    switch: &str,
) -> Result<(String, Vec<usize>), syn::Error> {
    let file = syn::parse_file(&source.text)?;
    let mut places: BTreeMap<usize, Vec<&Mistake>> = BTreeMap::new();
    for mistake in mistakes {
        places
            .entry(source.offset(mistake.start))
            .or_default()
            .push(mistake);
    }
    let mut writer = Writer {
        source,
        switch,
        places,
        edits: Vec::new(),
        done: BTreeSet::new(),
    };
    for mistake in mistakes
        .iter()
        .filter(|mistake| mistake.kind == Kind::FunctionValue)
    {
        writer.function(mistake);
    }
    writer.visit_file(&file);
    let without = mistakes
        .iter()
        .map(|mistake| mistake.number)
        .filter(|number| !writer.done.contains(number))
        .collect();
    Ok((writer.text(), without))
}

/// A piece of text that replaces a range, which may be empty.
struct Edit {
    range: Range<usize>,
    /// Begins something: what ends at the same place ends before it.
    opens: bool,
    text: String,
}

struct Writer<'s> {
    source: &'s Source,
    switch: &'s str,
    places: BTreeMap<usize, Vec<&'s Mistake>>,
    /// Those at one place in the order in which they stand there.
    edits: Vec<Edit>,
    /// The mistakes that have a switch.
    done: BTreeSet<usize>,
}

impl Writer<'_> {
    fn range(&self, span: Span) -> Range<usize> {
        self.source.offset_of(span.start())..self.source.offset_of(span.end())
    }

    /// The mistakes of a kind that begin here.
    fn mistakes(&self, kind: Kind, at: usize) -> Vec<Mistake> {
        let here = self.places.get(&at).into_iter().flatten();
        here.filter(|mistake| mistake.kind == kind)
            .map(|mistake| (*mistake).clone())
            .collect()
    }

    fn open(&mut self, at: usize, text: String) {
        self.edits.push(Edit {
            range: at..at,
            opens: true,
            text,
        });
    }

    fn close(&mut self, at: usize, text: String) {
        self.edits.push(Edit {
            range: at..at,
            opens: false,
            text,
        });
    }

    fn replace(&mut self, range: Range<usize>, text: String) {
        self.edits.push(Edit {
            range,
            opens: true,
            text,
        });
    }

    /// The question whether a mistake is to be made, which has its switch by that.
    fn is_made(&mut self, number: usize) -> String {
        self.done.insert(number);
        format!("{}({number})", self.switch)
    }

    /// `right`, or in its place what `wrong` makes of each mistake.
    fn choice(
        &mut self,
        mistakes: &[Mistake],
        right: String,
        wrong: impl Fn(&Mistake) -> String,
    ) -> String {
        mistakes.iter().fold(right, |right, mistake| {
            let number = mistake.number;
            format!(
                "if !{} {{ {right} }} else {{ /*<{number}*/ {} /*{number}>*/ }}",
                self.is_made(number),
                wrong(mistake)
            )
        })
    }

    /// Marks around what belongs to a number of mistakes together.
    fn marks(mistakes: &[Mistake]) -> (String, String) {
        let begin: Vec<String> = mistakes
            .iter()
            .map(|mistake| format!("/*<{}*/", mistake.number))
            .collect();
        let end: Vec<String> = mistakes
            .iter()
            .rev()
            .map(|mistake| format!("/*{}>*/", mistake.number))
            .collect();
        (begin.concat(), end.concat())
    }

    fn function(&mut self, mistake: &Mistake) {
        let number = mistake.number;
        let text = format!(
            "/*<{number}*/ if {} {{ return {}; }} /*{number}>*/ ",
            self.is_made(number),
            mistake.replacement
        );
        self.open(self.source.offset(mistake.start), text);
    }

    fn text(mut self) -> String {
        self.edits
            .sort_by_key(|edit| (edit.range.start, edit.opens));
        let mut text = String::with_capacity(2 * self.source.text.len());
        let mut at = 0;
        for edit in &self.edits {
            text.push_str(&self.source.text[at..edit.range.start]);
            text.push_str(&edit.text);
            at = edit.range.end;
        }
        text.push_str(&self.source.text[at..]);
        text
    }
}

impl<'ast> Visit<'ast> for Writer<'_> {
    fn visit_expr_binary(&mut self, node: &'ast ExprBinary) {
        let operator = self.range(node.op.span());
        let mistakes = self.mistakes(Kind::BinaryOperator, operator.start);
        // The operands of `if let ... && ...` are no values.
        let is_chain = matches!(*node.left, Expr::Let(_)) || matches!(*node.right, Expr::Let(_));
        if mistakes.is_empty() || is_chain {
            return visit::visit_expr_binary(self, node);
        }
        let whole = self.range(node.span());
        let sign = self.source.text[operator.clone()].to_owned();
        let (begin, end) = Self::marks(&mistakes);
        let both = |sign: &str| format!("__left {sign} __right");
        match node.op {
            // The right one is computed only if the left one does not decide.
            BinOp::And(_) | BinOp::Or(_) => {
                let stays = if matches!(node.op, BinOp::And(_)) {
                    ""
                } else {
                    "!"
                };
                let other = mistakes
                    .iter()
                    .find(|mistake| matches!(mistake.replacement.as_str(), "&&" | "||"))
                    .cloned();
                let Some(other) = other else {
                    return visit::visit_expr_binary(self, node);
                };
                let made = self.is_made(other.number);
                self.open(whole.start, format!("({begin}{{ let __left: bool = "));
                self.visit_expr(&node.left);
                self.replace(operator, format!("; if {stays}__left != {made} {{ "));
                self.visit_expr(&node.right);
                self.close(whole.end, format!(" }} else {{ __left }} }}{end})"));
            }
            BinOp::Eq(_)
            | BinOp::Ne(_)
            | BinOp::Lt(_)
            | BinOp::Le(_)
            | BinOp::Gt(_)
            | BinOp::Ge(_) => {
                let choice =
                    self.choice(&mistakes, both(&sign), |mistake| both(&mistake.replacement));
                self.open(whole.start, format!("({begin}match (&("));
                self.visit_expr(&node.left);
                self.replace(operator, "), &(".to_owned());
                self.visit_expr(&node.right);
                self.close(
                    whole.end,
                    format!(")) {{ (__left, __right) => {choice} }}{end})"),
                );
            }
            BinOp::Add(_)
            | BinOp::Sub(_)
            | BinOp::Mul(_)
            | BinOp::Div(_)
            | BinOp::Rem(_)
            | BinOp::BitXor(_)
            | BinOp::BitAnd(_)
            | BinOp::BitOr(_)
            | BinOp::Shl(_)
            | BinOp::Shr(_) => {
                let choice =
                    self.choice(&mistakes, both(&sign), |mistake| both(&mistake.replacement));
                self.open(whole.start, format!("({begin}match (("));
                self.visit_expr(&node.left);
                self.replace(operator, "), (".to_owned());
                self.visit_expr(&node.right);
                self.close(
                    whole.end,
                    format!(")) {{ (__left, __right) => {choice} }}{end})"),
                );
            }
            // The place is written to last, and may not be borrowed before.
            _ => {
                let place = self.source.text[self.range(node.left.span())].to_owned();
                let both = |sign: &str| format!("*__left {sign} __right");
                let choice =
                    self.choice(&mistakes, both(&sign), |mistake| both(&mistake.replacement));
                self.replace(whole.start..operator.end, format!("{begin}match ("));
                self.visit_expr(&node.right);
                self.close(
                    whole.end,
                    format!(
                        ") {{ __right => match &mut ({place}) {{ __left => {choice} }} }}{end}"
                    ),
                );
            }
        }
    }

    fn visit_expr_unary(&mut self, node: &'ast ExprUnary) {
        let operator = self.range(node.op.span());
        let mistakes = self.mistakes(Kind::UnaryOperator, operator.start);
        if mistakes.is_empty() {
            return visit::visit_expr_unary(self, node);
        }
        let sign = self.source.text[operator.clone()].to_owned();
        let (begin, end) = Self::marks(&mistakes);
        let choice = self.choice(&mistakes, format!("{sign}__value"), |_| {
            "__value".to_owned()
        });
        self.replace(operator, format!("({begin}match ("));
        self.visit_expr(&node.expr);
        self.close(
            self.range(node.span()).end,
            format!(") {{ __value => {choice} }}{end})"),
        );
    }

    fn visit_expr_match(&mut self, node: &'ast ExprMatch) {
        // With a guard, an arm is one that the compiler does not count on.
        let has_other = node
            .arms
            .iter()
            .any(|arm| arm.guard.is_none() && matches!(arm.pat, Pat::Wild(_)));
        if !has_other {
            for arm in &node.arms {
                let start = self.range(arm.span()).start;
                if let Some(here) = self.places.get_mut(&start) {
                    here.retain(|mistake| mistake.kind != Kind::Arm);
                }
            }
        }
        visit::visit_expr_match(self, node);
    }

    fn visit_arm(&mut self, node: &'ast Arm) {
        let pattern = self.range(node.pat.span());
        let left_out = self.mistakes(Kind::Arm, self.range(node.span()).start);
        let (begin, end) = Self::marks(&left_out);
        let stays: Vec<String> = left_out
            .iter()
            .map(|mistake| format!("!{}", self.is_made(mistake.number)))
            .collect();
        let stays = stays.join(" && ");
        let Some((_, guard)) = &node.guard else {
            if !stays.is_empty() {
                self.close(pattern.end, format!(" {begin}if {stays}{end}"));
            }
            return visit::visit_arm(self, node);
        };
        let range = self.range(guard.span());
        let guards = self.mistakes(Kind::Guard, range.start);
        // `stays && (always || !never && (guard))`
        let (begin_guard, end_guard) = Self::marks(&guards);
        let mut before = format!("{begin}{begin_guard}");
        if !stays.is_empty() {
            before.push_str(&format!("{stays} && "));
        }
        before.push('(');
        for mistake in &guards {
            let made = self.is_made(mistake.number);
            let text = if mistake.replacement == "true" {
                format!("{made} || ")
            } else {
                String::new()
            };
            before.push_str(&text);
        }
        for mistake in guards
            .iter()
            .filter(|mistake| mistake.replacement == "false")
        {
            let made = self.is_made(mistake.number);
            before.push_str(&format!("!{made} && "));
        }
        before.push('(');
        self.visit_pat(&node.pat);
        self.open(range.start, before);
        self.visit_expr(guard);
        self.close(range.end, format!(")){end_guard}{end}"));
        self.visit_expr(&node.body);
    }

    fn visit_expr_struct(&mut self, node: &'ast ExprStruct) {
        let rest = node
            .rest
            .as_ref()
            .map(|rest| self.source.text[self.range(rest.span())].to_owned());
        for field in &node.fields {
            let mistake = self
                .mistakes(Kind::Field, self.range(field.span()).start)
                .pop();
            let (Some(mistake), Some(rest), Some(_), syn::Member::Named(name)) =
                (mistake, &rest, field.colon_token, &field.member)
            else {
                self.visit_field_value(field);
                continue;
            };
            let number = mistake.number;
            let made = self.is_made(number);
            let value = self.range(field.expr.span());
            self.open(
                value.start,
                format!("/*<{number}*/if {made} {{ ({rest}).{name} }} else {{ "),
            );
            self.visit_expr(&field.expr);
            self.close(value.end, format!(" }}/*{number}>*/"));
        }
        if let Some(rest) = &node.rest {
            self.visit_expr(rest);
        }
    }
}
