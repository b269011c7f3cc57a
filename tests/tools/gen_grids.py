"""kernels/quant/iq_tables.h: the codebooks of the IQ formats, from the gguf package.

    python -m venv v && v/bin/pip install numpy gguf==0.19.0 && v/bin/python tests/tools/gen_grids.py

The package keeps each grid as bytes of 2-bit fields (or nibbles of 3 bits) that index its few
values; here an entry is one u16 of such fields. The package and the tables in it are under the MIT
license, which allows this copy."""

import numpy as np
from gguf import quants

OUT = "kernels/quant/iq_tables.h"
HEAD = """/* iq_tables.h - the codebooks of the IQ formats as fields of 2 or 3 bits, see iq.h: definitions,
 * whose kind is what IQ_TABLE(name, n) says.
 *
 * Made by tests/tools/gen_grids.py from the tables of the gguf Python package (MIT license). */
#ifndef KERNELS_QUANT_IQ_TABLES_H
#define KERNELS_QUANT_IQ_TABLES_H

/* clang-format off */
"""
GRIDS = [
    ("iq1_grid", quants.IQ1_S),
    ("iq2_xxs_grid", quants.IQ2_XXS),
    ("iq2_xs_grid", quants.IQ2_XS),
    ("iq2_s_grid", quants.IQ2_S),
    ("iq3_xxs_grid", quants.IQ3_XXS),
    ("iq3_s_grid", quants.IQ3_S),
]

parts = [HEAD]
for name, cls in GRIDS:
    cls.init_grid()
    values = {v: i for i, v in enumerate(cls.grid_map)}
    bits = 2 if len(values) < 5 else 3
    grid = np.asarray(cls.grid).reshape(cls.grid_shape)
    entries = [sum(values[int(v)] << bits * i for i, v in enumerate(row)) for row in grid]
    lines = [
        "    " + " ".join(f"0x{e:04x}," for e in entries[i : i + 12])
        for i in range(0, len(entries), 12)
    ]
    parts.append(f"IQ_TABLE({name}, {len(entries)}) = {{\n" + "\n".join(lines) + "\n};\n")
with open(OUT, "w") as f:
    f.write("\n".join(parts) + "/* clang-format on */\n\n#endif\n")
