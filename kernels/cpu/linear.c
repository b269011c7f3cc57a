/* linear.c - the loops around the tiles: which rows and panels meet when, and what is prefetched.
 *
 * Blocks of rows that stay in L2 > groups of panels > tiles of rows > all of K. With few rows
 * memory is the limit, and it wants one ascending stream a thread: groups of one panel. With many
 * rows arithmetic is, so tiles are as wide as the registers hold. Prefetch runs 4 KiB ahead, or,
 * when a group is passed over several times, fetches the next group in equal shares, so that memory
 * never idles. No value depends on any of this: a tile's sums are per output over ascending K. */
#include "kernels/cpu/linear.h"

enum { AHEAD = 4096, LINE = 64, L2_ROWS = 96, L2_ROWS_LONG = 48, LONG_K = 4096, FEW = 24 };

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

void linear_tiles(const struct linear_job *j, int64_t first, int64_t last,
                  const struct tile_set *set)
{
    int64_t k = j->steps * panel_format(j->type)->step;
    int64_t block = k > LONG_K ? L2_ROWS_LONG : L2_ROWS;

    for (int64_t m0 = 0; m0 < j->m; m0 += block) {
        int64_t rows = least(j->m - m0, block), tiles = (rows + set->rows - 1) / set->rows;
        int big = (int)((rows + tiles - 1) / tiles); /* rows split evenly: 8 = 4 + 4 */
        int group = j->m > FEW ? set->many[big] : j->m <= 4 ? set->few : j->m <= 8 ? 1 : 2;
        group = group > set->many[1] ? set->many[1] : group;
        size_t share = (size_t)group * j->panel / (size_t)tiles / LINE * LINE;
        for (int64_t p = first; p < last; p += group) {
            const char *w = (const char *)j->w + (size_t)p * j->panel;
            struct ahead pre = {w + (tiles == 1 ? AHEAD : (size_t)group * j->panel), 0};
            if (m0 == 0 && p + group < last && !(set->light && j->m <= 2) && group < TILE_PANELS)
                pre.step = (int)(((int64_t)share / j->steps + LINE - 1) / LINE * LINE);
            int panels = (int)least(last - p, group);
            for (int64_t i = 0, c; i < rows; i += c, pre.p += share) {
                c = least(rows - i, big);
                set->tile[panels][c](j, p, m0 + i, pre);
            }
        }
    }
}
