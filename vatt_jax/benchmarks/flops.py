"""What a model costs, in closed form beside the paper's figures."""

from vatt_jax.models import flops as closed_form


def run() -> dict:
  """Prints two Markdown tables, the paper's figures and those of our towers; returns the same as a report."""
  giga = lambda value: f"{value / 1e9:,.1f}"
  print("GFLOP of matrix products in one forward pass, a multiply-add counted as two.\n")
  print("| VATT paper, tables 5 and 6 | DropToken | paper | its convention | deviation | here, true count |")
  print("| --- | ---: | ---: | ---: | ---: | ---: |")
  rows = list(closed_form.paper_table())
  for row in rows:
    figures = f"{giga(row.reported)} | {giga(row.paper)} | {100 * row.deviation:+.1f} %"
    print(f"| {row.name} | {100 * row.drop_rate:.0f} % | {figures} | {giga(row.ours)} |")
  print(
    "\nThe paper's convention leaves out queries times keys, and projects patches before it drops them; here they are "
    "dropped first.\n\nOne clip (32 x 224 x 224, 3.2 s at 48 kHz, 16 words) through one tower; in brackets without "
    "queries times keys.\n"
  )
  print("| tower | size |" + "".join(f" DropToken {100 * rate:.0f} % |" for rate in closed_form.DROP_RATES))
  print("| --- | --- |" + " ---: |" * len(closed_form.DROP_RATES))
  towers = list(closed_form.tower_table())
  for modality, size, cells in towers:
    texts = [f" {giga(full)} ({giga(less)}) |" for full, less in cells]
    print(f"| {modality} | {size} |" + "".join(texts + [" |"] * (len(closed_form.DROP_RATES) - len(cells))))
  return {
    "paper": [
      {"name": r.name, "drop_rate": r.drop_rate, "reported": r.reported, "paper_convention": r.paper, "true": r.ours}
      for r in rows
    ],
    "towers": [
      {"tower": modality, "size": size, "drop_rate": rate, "true": full, "without_scores": less}
      for modality, size, cells in towers
      for rate, (full, less) in zip(closed_form.DROP_RATES, cells)
    ],
  }
