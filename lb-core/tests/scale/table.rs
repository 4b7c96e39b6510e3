//! Figures as people read them: in Markdown, so that they go into a document as they are.

/// Prints a table under a title.
pub fn print<const N: usize>(title: &str, heads: [&str; N], rows: &[[String; N]]) {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([heads[column].chars().count()]).max().unwrap_or(0)
    };
    let line = |cells: [&str; N]| {
        let cells = cells.iter().enumerate();
        let cells: Vec<_> = cells.map(|(column, cell)| format!("{cell:<0$}", width(column))).collect();
        format!("| {} |\n", cells.join(" | "))
    };
    let rule = (0..N).map(|column| "-".repeat(width(column))).collect::<Vec<_>>().join(" | ");
    let mut text = format!("\n{title}\n\n{}| {rule} |\n", line(heads));
    for row in rows {
        text += &line(row.each_ref().map(String::as_str));
    }
    // In one piece: the tests run side by side.
    println!("{text}");
}
