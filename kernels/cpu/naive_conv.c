/* naive_conv.c - the definition of conv1d. Items are channels: one walks every sequence's rows in
 * order, so any split into chunks of rows, over steps or over threads, gives the same bits. */
#include <string.h>

#include "kernels/cpu/naive.h"

int64_t naive_conv1d_items(const struct op_conv1d *a)
{
    return a->x.shape[1];
}

/* One channel of one sequence: rows [row, end). */
static void channel(const struct op_conv1d *a, int64_t c, int64_t row, int64_t end, float *state)
{
    const int64_t n = a->x.shape[1], k = a->w.shape[1];
    const float *w = tensor_row(&a->w, c);
    float past[CONV1D_MAX] = {0}; /* the last k - 1 inputs, oldest first */
    if (a->r.pos[row] > 0)
        for (int64_t j = 0; j < k - 1; j++)
            past[j] = state[j * n + c];
    for (; row < end; row++) {
        float sum = 0;
        past[k - 1] = ((const float *)tensor_row(&a->x, row))[c];
        for (int64_t j = 0; j < k; j++)
            sum += w[j] * past[j];
        ((float *)tensor_row(&a->y, row))[c] = sum;
        memmove(past, past + 1, sizeof *past * (size_t)(k - 1));
    }
    for (int64_t j = 0; j < k - 1; j++)
        state[j * n + c] = past[j];
}

void naive_conv1d(const struct op_conv1d *a, int64_t first, int64_t last)
{
    const struct ragged *r = &a->r;
    const int64_t slot_floats = (a->w.shape[1] - 1) * a->x.shape[1];
    int seqs = r->live && r->live[1] < r->seqs ? r->live[1] : r->seqs;
    for (int64_t c = first; c < last; c++)
        for (int s = 0; s < seqs; s++)
            if (r->seq_start[s] < r->seq_start[s + 1])
                channel(a, c, r->seq_start[s], r->seq_start[s + 1],
                        a->state + r->seq_slot[s] * slot_floats);
}
