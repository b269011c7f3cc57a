/* linear_floats.h - blocks of 64 floats with a scale (f8_e4m3, nf4) times rows of x: the loops and
 * tiles of every ISA; included by linear_floats_<isa>.c alone, after the primitives that it names.
 *
 * The values of these formats are short once the block's scale is set aside. So an output is a sum
 * over 64 k of x * value, by an instruction for 16 or 32 products, and the scale comes in once a
 * block: f = fma(sum, d, f). With few rows memory is the limit, and codes are widened in registers.
 * With more, the codes of 64 k of 4 panels are widened once, into the L1 cache, and all rows read
 * them there. f waits in memory from block to block. The arithmetic of an output is the same both
 * ways, so which is taken changes no bit.
 *
 * The including file has: `vec`, LANES floats; UNIT, the k of one `mad` (1, or 2 in bf16 pairs);
 * ROWS and COLS, vecs of a tile in registers; widen4, 4 k of LANES rows; scale, d of LANES rows;
 * spread, a unit of x in all lanes; mad, acc + w * x; fma_f32, load, save, zero. */
#ifndef KERNELS_CPU_LINEAR_FLOATS_H
#define KERNELS_CPU_LINEAR_FLOATS_H

#include <string.h>

#include "kernels/cpu/linear.h"

enum {
    BLOCK = 64,
    UNITS = BLOCK / UNIT,       /* of a block */
    QUAD = 4 / UNIT,            /* units of 4 k */
    X_UNIT = 4,                 /* bytes: a float or two bf16 */
    GROUP = 4,                  /* panels widened side by side */
    SIDES = PANEL_ROWS / LANES, /* vecs of a panel */
    WIDTH = GROUP * PANEL_ROWS, /* outputs of a group */
    FEW = 4,                    /* rows: up to here codes are widened in registers */
    FEW_COLS = 2,               /* vecs side by side then */
    L2_ROWS = 96,
};

typedef float sums[WIDTH]; /* of one row of x and the panels of a group */

/* What a tile function is made for: constants after inlining. */
struct shape {
    int rows, cols; /* cols: vecs */
};

INLINE int step_bytes(enum dtype t) /* panel.c has them as a table */
{
    return t == DT_F8_E4M3 ? 1088 : 576;
}

INLINE const uint8_t *panel_of(const struct linear_job *j, const uint8_t *p, int col)
{
    return p + (size_t)(col / SIDES) * j->panel;
}

INLINE void clear(struct shape z, vec s[ROWS][COLS])
{
#pragma GCC unroll 8
    for (int i = 0; i < z.rows; i++) {
#pragma GCC unroll 8
        for (int c = 0; c < z.cols; c++)
            s[i][c] = zero();
    }
}

/* s += a unit of x times one of weights. */
INLINE void step(struct shape z, const char *x, size_t xs, const vec w[COLS], vec s[ROWS][COLS])
{
#pragma GCC unroll 8
    for (int i = 0; i < z.rows; i++) {
        vec v = spread(x + (size_t)i * xs);
#pragma GCC unroll 8
        for (int c = 0; c < z.cols; c++)
            s[i][c] = mad(s[i][c], w[c], v);
    }
}

/* f += s * d */
INLINE void settle(struct shape z, vec s[ROWS][COLS], const vec *d, sums *f, int col)
{
#pragma GCC unroll 8
    for (int i = 0; i < z.rows; i++) {
#pragma GCC unroll 8
        for (int c = 0; c < z.cols; c++) {
            float *at = f[i] + (col + c) * LANES;
            save(at, fma_f32(s[i][c], d[c], load(at)));
        }
    }
}

/* Few rows: the panels from p on, all of K. */
INLINE void few(enum dtype t, struct shape z, const struct linear_job *j, const uint8_t *p, sums *f)
{
    const char *x = j->x;

    for (int64_t k = 0; k < j->steps; k++, p += step_bytes(t)) {
        vec s[ROWS][COLS], d[COLS];
        clear(z, s);
        for (int q = 0; q < BLOCK / 4; q++, x += 4 / UNIT * X_UNIT) {
            vec w[QUAD][COLS], four[QUAD];
#pragma GCC unroll 8
            for (int c = 0; c < z.cols; c++) {
                widen4(t, panel_of(j, p, c), q, c % SIDES, four);
#pragma GCC unroll 8
                for (int u = 0; u < QUAD; u++)
                    w[u][c] = four[u];
            }
#pragma GCC unroll 8
            for (int u = 0; u < QUAD; u++)
                step(z, x + u * X_UNIT, j->xs, w[u], s);
        }
#pragma GCC unroll 8
        for (int c = 0; c < z.cols; c++)
            d[c] = scale(t, panel_of(j, p, c), c % SIDES);
        settle(z, s, d, f, 0);
    }
}

struct wide { /* a block of a group as numbers */
    vec w[UNITS][GROUP * SIDES], d[GROUP * SIDES];
};

INLINE void widen(enum dtype t, const struct linear_job *j, const uint8_t *p, int panels,
                  struct wide *out)
{
    for (int n = 0; n < panels; n++, p += j->panel) {
#pragma GCC unroll 2
        for (int side = 0; side < SIDES; side++) {
            out->d[n * SIDES + side] = scale(t, p, side);
            for (int q = 0; q < BLOCK / 4; q++) {
                vec four[QUAD];
                widen4(t, p, q, side, four);
#pragma GCC unroll 8
                for (int u = 0; u < QUAD; u++)
                    out->w[q * QUAD + u][n * SIDES + side] = four[u];
            }
        }
    }
}

/* Some rows from x and f on, a block of some columns of w from `col` on. */
typedef void tile_of(const struct wide *w, int col, const char *x, size_t xs, sums *f);

INLINE void tile(struct shape z, const struct wide *w, int col, const char *x, size_t xs, sums *f)
{
    vec s[ROWS][COLS];

    clear(z, s);
    for (int u = 0; u < UNITS; u++, x += X_UNIT)
        step(z, x, xs, &w->w[u][col], s);
    settle(z, s, &w->d[col], f, col);
}

/* clang-format off */
#define TILE(rows, cols)                                                                           \
    static void tile_##rows##_##cols(const struct wide *w, int col, const char *x, size_t xs, sums *f) \
    {                                                                                              \
        tile((struct shape){rows, cols}, w, col, x, xs, f);                                        \
    }
#define TILES(cols) TILE(1, cols) TILE(2, cols) TILE(3, cols) TILE(4, cols) TILE(5, cols) TILE(6, cols)
#define NAMES(cols) \
    {NULL, tile_1_##cols, tile_2_##cols, tile_3_##cols, tile_4_##cols, tile_5_##cols, tile_6_##cols}
#if LANES == 16
TILES(1) TILES(2) TILES(4)
static tile_of *const tiles[COLS + 1][ROWS + 1] = {{NULL}, NAMES(1), NAMES(2), {NULL}, NAMES(4)};
#else
TILES(2)
static tile_of *const tiles[COLS + 1][ROWS + 1] = {{NULL}, {NULL}, NAMES(2)};
#endif
/* clang-format on */

/* A block of x, `rows` rows xs bytes apart, times the first cols of w. */
static void pass(const struct wide *w, int cols, const char *x, size_t xs, int rows, sums *f)
{
    int parts = (rows + ROWS - 1) / ROWS;

    for (int i = 0, n; parts > 0; parts--, i += n) {
        n = (rows - i + parts - 1) / parts; /* split evenly: 8 = 4 + 4 */
        for (int col = 0, some; col < cols; col += some) {
            for (some = COLS; some > cols - col;)
                some /= 2;
            tiles[some][n](w, col, x + (size_t)i * xs, xs, f + i);
        }
    }
}

/* y of some rows from `row` on and of the panels from p to `end`, whose sums are f. */
static void finish(const struct linear_job *j, int64_t p, int64_t end, int64_t row, int rows,
                   const sums *f)
{
    int64_t col = p * PANEL_ROWS, left = j->n - col;
    int n = (int)(end - p) * PANEL_ROWS;

    n = left < n ? (int)left : n;
    for (int i = 0; i < rows; i++) {
        float *y = j->y + (row + i) * j->ldy + col;
        for (int c = 0; c < n; c++)
            y[c] = linear_end(j, row + i, col + c, f[i][c]);
    }
}

INLINE void many(enum dtype t, const struct linear_job *j, int64_t first, int64_t last)
{
    _Alignas(64) sums f[L2_ROWS];
    struct wide w;

    for (int64_t row = 0; row < j->m; row += L2_ROWS) {
        int rows = (int)(j->m - row < L2_ROWS ? j->m - row : L2_ROWS), panels;
        const char *x = (const char *)j->x + (size_t)row * j->xs;
        for (int64_t p = first; p < last; p += panels) {
            panels = (int)(last - p < GROUP ? last - p : GROUP);
            memset(f, 0, (size_t)rows * sizeof *f);
            for (int64_t k = 0; k < j->steps; k++) {
                widen(t, j, j->w + (size_t)p * j->panel + k * step_bytes(t), panels, &w);
                pass(&w, panels * SIDES, x + k * UNITS * X_UNIT, j->xs, rows, f);
            }
            finish(j, p, p + panels, row, rows, f);
        }
    }
}

/* `fn`: few with constants. */
typedef void few_fn(const struct linear_job *j, const uint8_t *p, sums *f);

static void few_rows(few_fn *const fn[FEW + 1][FEW_COLS + 1], const struct linear_job *j,
                     int64_t first, int64_t last)
{
    for (int64_t p = first, n; p < last; p += n) {
        _Alignas(64) sums f[FEW] = {{0}};
        n = last - p < FEW_COLS / SIDES ? last - p : FEW_COLS / SIDES;
        fn[j->m][n * SIDES](j, j->w + (size_t)p * j->panel, f);
        finish(j, p, p + n, 0, (int)j->m, f);
    }
}

/* clang-format off */
#define FEW_TILE(t, rows, cols)                                                                    \
    static void t##_##rows##_##cols(const struct linear_job *j, const uint8_t *p, sums *f)         \
    {                                                                                              \
        few(DT_##t, (struct shape){rows, cols}, j, p, f);                                          \
    }
#define FEW_NAMES(t, rows) {NULL, FEW_ONE(t, rows), t##_##rows##_2}
#if LANES == 16
#define FEW_TILES(t, rows) FEW_TILE(t, rows, 1) FEW_TILE(t, rows, 2)
#define FEW_ONE(t, rows) t##_##rows##_1
#else
#define FEW_TILES(t, rows) FEW_TILE(t, rows, 2)
#define FEW_ONE(t, rows) NULL
#endif
#define KERNEL(t, name)                                                                            \
    FEW_TILES(t, 1) FEW_TILES(t, 2) FEW_TILES(t, 3) FEW_TILES(t, 4)                                \
    void name(const struct linear_job *j, int64_t first, int64_t last)                             \
    {                                                                                              \
        static few_fn *const fn[FEW + 1][FEW_COLS + 1] = {                                         \
            {NULL}, FEW_NAMES(t, 1), FEW_NAMES(t, 2), FEW_NAMES(t, 3), FEW_NAMES(t, 4)};           \
        if (j->m <= FEW)                                                                           \
            few_rows(fn, j, first, last);                                                          \
        else                                                                                       \
            many(DT_##t, j, first, last);                                                          \
    }
/* clang-format on */

#endif
