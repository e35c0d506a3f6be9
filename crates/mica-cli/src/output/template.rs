//! Templates: the part of Go's `text/template` that users of Docker and podman write after `--format`.
//!
//! ```text
//! {{.ID}}  {{.Config.Env}}  {{index .Config.Labels "a.b"}}  {{json .}}  {{.Names | upper}}  {{printf "%-20s %v" .ID .Size}}
//! {{range .Mounts}}{{.Source}} {{end}}  {{range $k, $v := .Ports}}…{{else}}…{{end}}  {{if eq .State "running"}}…{{else if …}}…{{end}}
//! {{with .Config}}{{.Cmd}} {{$.Id}}{{end}}  {{$x := .ID}}  {{- trimmed -}}  {{/* comment */}}
//! ```
//!
//! Text is parsed into a tree once and rendered for every row. In text outside of braces `\t` and `\n` are a tab and a newline, as in Docker.
//! A template's data is JSON, where Go has types, so two answers are settled here: a name that the row itself does not have is an error that
//! lists those it has, and a name that is missing further in prints `<no value>`, as a missing key of a map does in Go.

mod eval;
mod functions;
mod lex;
mod parse;
#[cfg(test)]
mod tests;
mod value;

use serde_json::Value;

/// A template, parsed.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    nodes: Vec<parse::Node>,
}

/// What becomes of characters that steer a terminal, where they come from the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Controls {
    /// They stay: the output is for a program.
    Raw,
    /// They are escaped ([`super::plain`]), so that a row stays one line and a terminal stays as it is.
    Escaped,
}

/// Why a template cannot be read or rendered. `column` counts characters of the template from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TemplateError {
    /// The text is not a template.
    #[error("template column {column}: {problem}")]
    Syntax {
        /// Where.
        column: usize,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// A function that there is not.
    #[error("template column {column}: no function {name:?}; the functions are {known}")]
    NoFunction {
        /// Where.
        column: usize,
        /// The name as written.
        name: String,
        /// The functions there are.
        known: String,
    },
    /// A field that the row does not have.
    #[error("template column {column}: no field {name:?}; there are {known}")]
    NoField {
        /// Where.
        column: usize,
        /// The name as written.
        name: String,
        /// The fields of the row.
        known: String,
    },
    /// A value that cannot be used so.
    #[error("template column {column}: {problem}")]
    Value {
        /// Where.
        column: usize,
        /// What is asked of which kind of value.
        problem: String,
    },
}

impl Template {
    /// Reads a template.
    pub(crate) fn parse(text: &str) -> Result<Self, TemplateError> {
        Ok(Self { nodes: parse::parse(lex::split(text)?)? })
    }

    /// The text that the template makes of `data`, without a newline at the end.
    pub(crate) fn render(&self, data: &Value, controls: Controls) -> Result<String, TemplateError> {
        eval::render(&self.nodes, data, eval::Mode::Data(controls))
    }

    /// The head of a table whose rows the template makes: `headers` has the header of each field, and functions let it through as it is.
    pub(crate) fn render_header(&self, headers: &Value) -> Result<String, TemplateError> {
        eval::render(&self.nodes, headers, eval::Mode::Header)
    }
}

/// A value as Go prints it: lists as `[a b]`, maps as `map[k:v]`, nothing as `<no value>`.
pub(crate) fn show(value: &Value, controls: Controls) -> String {
    value::Val::Data(std::borrow::Cow::Borrowed(value)).show(controls)
}
