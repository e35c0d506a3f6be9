//! Listings: rows of things, as a table, as JSON, or by a template.
//!
//! A row is a JSON object with Docker's field names, so that what scripts ask of `docker … --format` can be asked here. Every row is one line:
//! what is in names and labels is escaped ([`super::plain`]).

use super::template::{self, Controls, Template, TemplateError};
use super::{plain, table};
use serde_json::{Map, Value};
use std::io::{self, Write};
use std::str::FromStr;

/// A field that rows may have, and what stands above it in a table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column {
    /// Docker's name of the field: `ID`.
    pub(crate) field: &'static str,
    /// Docker's name of the column: `IMAGE ID`.
    pub(crate) header: &'static str,
}

/// What there is to list, and how it looks if nothing else is asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Listing<'a> {
    /// Every field that templates may use.
    pub(crate) columns: &'a [Column],
    /// The fields of the plain table, from left to right.
    pub(crate) shown: &'a [&'a str],
    /// The field that `--quiet` prints alone.
    pub(crate) quiet: &'a str,
}

/// How rows are printed: the value of `--format`.
#[derive(Debug, Clone, Default)]
pub(crate) enum Format {
    /// `table`: the columns of the listing.
    #[default]
    Table,
    /// `table {{.ID}}\t{{.Size}}`: columns by a template, with their headers.
    TableTemplate(Template),
    /// A template for each row.
    Template(Template),
    /// `json`: an object for each row.
    Json,
}

/// Why a value of `--format` is not one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FormatError {
    /// A word that means nothing.
    #[error("no format {name:?}; there are table, json, and templates such as {{{{.ID}}}} or table {{{{.ID}}}}")]
    Unknown {
        /// The word.
        name: String,
    },
    /// A template that cannot be read.
    #[error(transparent)]
    Template(#[from] TemplateError),
}

/// Why a listing was not printed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ListingError {
    /// The template does not fit the rows.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The output takes no more.
    #[error("write the listing")]
    Write(#[from] io::Error),
}

impl FromStr for Format {
    type Err = FormatError;

    fn from_str(text: &str) -> Result<Self, FormatError> {
        match text.trim() {
            "" | "table" => return Ok(Self::Table),
            "json" => return Ok(Self::Json),
            // It would print the word once for every row.
            word if !word.contains("{{") => return Err(FormatError::Unknown { name: word.to_owned() }),
            _ => {}
        }
        let columns = text.strip_prefix("table").filter(|rest| rest.starts_with([' ', '\t', '\\', '{']));
        Ok(match columns {
            Some(columns) => Self::TableTemplate(Template::parse(columns.trim_matches(' '))?),
            None => Self::Template(Template::parse(text)?),
        })
    }
}

impl Listing<'_> {
    /// Prints `rows`. `quiet` prints one field of each, unless the format says more than `table`. A reader that goes away is no error.
    pub(crate) fn print(
        &self,
        out: &mut dyn Write,
        rows: &[Value],
        format: &Format,
        quiet: bool,
    ) -> Result<(), ListingError> {
        let text = self.text(rows, format, quiet)?;
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            done => Ok(done?),
        }
    }

    fn text(&self, rows: &[Value], format: &Format, quiet: bool) -> Result<String, TemplateError> {
        let mut text = String::new();
        match format {
            Format::Table if quiet => {
                for row in rows {
                    text.extend([&cell(row, self.quiet), "\n"]);
                }
            }
            Format::Table => {
                let headers = self.shown.iter().map(|field| self.header(field));
                text.extend([&headers.collect::<Vec<_>>().join("\t"), "\n"]);
                for row in rows {
                    let cells = self.shown.iter().map(|field| cell(row, field));
                    text.extend([&cells.collect::<Vec<_>>().join("\t"), "\n"]);
                }
                text = table::align(&text);
            }
            Format::TableTemplate(template) => {
                text.extend([&template.render_header(&self.headers(rows))?, "\n"]);
                for row in rows {
                    text.extend([&template.render(row, Controls::Escaped)?, "\n"]);
                }
                text = table::align(&text);
            }
            Format::Template(template) => {
                // A wrong name is told even when there are no rows.
                template.render_header(&self.headers(rows))?;
                for row in rows {
                    text.extend([&template.render(row, Controls::Escaped)?, "\n"]);
                }
            }
            Format::Json => {
                for row in rows {
                    text.extend([&plain::escape_json(row.to_string()), "\n"]);
                }
            }
        }
        Ok(text)
    }

    fn header(&self, field: &str) -> String {
        let known = self.columns.iter().find(|column| column.field == field);
        known.map_or_else(|| field.to_uppercase(), |column| column.header.to_owned())
    }

    /// The header of every field that can be asked for.
    fn headers(&self, rows: &[Value]) -> Value {
        let known = self.columns.iter().map(|column| column.field);
        let in_rows = rows.iter().filter_map(Value::as_object).flat_map(Map::keys).map(String::as_str);
        known.chain(in_rows).map(|field| (field.to_owned(), Value::String(self.header(field)))).collect()
    }
}

/// A field as a cell: nothing where there is nothing.
fn cell(row: &Value, field: &str) -> String {
    match row.get(field) {
        None | Some(Value::Null) => String::new(),
        Some(value) => template::show(value, Controls::Escaped),
    }
}

#[cfg(test)]
mod tests;
