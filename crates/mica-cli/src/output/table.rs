//! Tables without borders: lines of cells between tabs, aligned as Docker aligns them.
//!
//! Docker writes through Go's `tabwriter` with a padding of three and cells of at least ten. Only a cell that a tab ends belongs to a column,
//! so the last of a line is never padded, and a line with fewer tabs ends the columns that it lacks.

use unicode_width::UnicodeWidthStr;

/// The blanks after the widest cell of a column.
const PADDING: usize = 3;
/// A column's least width, padding included.
const LEAST: usize = 10;

/// `text` with each tab replaced by the blanks that line the cells up.
pub(crate) fn align(text: &str) -> String {
    let lines: Vec<Vec<&str>> = text.split('\n').map(|line| line.split('\t').collect()).collect();
    let columns = lines.iter().map(|cells| cells.len() - 1).max().unwrap_or(0);
    let mut widths: Vec<Vec<usize>> = vec![Vec::new(); lines.len()];
    for column in 0..columns {
        let mut rest: &[Vec<&str>] = &lines;
        let mut rest_widths: &mut [Vec<usize>] = &mut widths;
        while !rest.is_empty() {
            // A run: neighbouring lines that all have the column, or that all lack it.
            let has = |cells: &Vec<&str>| cells.len() > column + 1;
            let inside = rest.first().is_some_and(has);
            let run = rest.iter().take_while(|cells| has(cells) == inside).count();
            let (lines_of_run, below) = rest.split_at(run);
            let (widths_of_run, widths_below) = rest_widths.split_at_mut(run);
            if inside {
                let widest = lines_of_run.iter().filter_map(|cells| cells.get(column)).map(|cell| cell.width()).max();
                let width = (widest.unwrap_or(0) + PADDING).max(LEAST);
                widths_of_run.iter_mut().for_each(|widths| widths.push(width));
            }
            (rest, rest_widths) = (below, widths_below);
        }
    }
    let mut aligned = String::with_capacity(text.len() * 2);
    for (number, (cells, widths)) in lines.iter().zip(&widths).enumerate() {
        if number > 0 {
            aligned.push('\n');
        }
        for (column, cell) in cells.iter().enumerate() {
            aligned.push_str(cell);
            if let Some(width) = widths.get(column) {
                aligned.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.width())));
            }
        }
    }
    aligned
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_as_dockers() {
        let text = "REPOSITORY\tTAG\tIMAGE ID\tCREATED\tSIZE\nbusybox\tlatest\t65ad0d468eb1\t2 years ago\t4.26MB\n";
        let aligned = "REPOSITORY   TAG       IMAGE ID       CREATED       SIZE\n\
                       busybox      latest    65ad0d468eb1   2 years ago   4.26MB\n";
        assert_eq!(align(text), aligned);
    }

    #[test]
    fn wide_characters_take_two_columns_and_combining_ones_none() {
        assert_eq!(align("漢字漢字漢字\tx\ne\u{301}tude\ty"), "漢字漢字漢字   x\ne\u{301}tude          y");
    }

    #[test]
    fn a_line_without_a_column_ends_it() {
        assert_eq!(align("a-long-long-cell\tx\nno tab\nb\ty"), "a-long-long-cell   x\nno tab\nb         y");
    }

    #[test]
    fn an_empty_cell_keeps_its_place() {
        assert_eq!(
            align("NAME\tCREATED BY\tCOMMENT\na\t\tx\n\tb\t"),
            "NAME      CREATED BY   COMMENT\na                      x\n          b            "
        );
    }

    #[test]
    fn an_empty_text_stays_empty() {
        assert_eq!(align(""), "");
    }
}
