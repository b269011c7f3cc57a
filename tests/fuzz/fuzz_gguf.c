/* fuzz_gguf.c - any bytes as a GGUF file, or as several parts of one: refused with a message that
 * names it, or a checkpoint whose every key and tensor can be read, and whose memory is bounded by
 * the files' size.
 *
 * Parts: 'S', their number n, n x u32 lengths, the bytes of each. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "tests/fuzz/walk.h"

enum { MAX_PARTS = 4, MAX_NAME = 32 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* Names the parts of a container and cuts them out of it; a length that is too great is cut. */
static int cut(const uint8_t *data, size_t n, char names[][MAX_NAME], struct ckpt_lent *lent)
{
    int count = n > 1 ? 1 + data[1] % MAX_PARTS : 1;
    size_t at = 2 + 4 * (size_t)count;

    if (n < at)
        return 0;
    for (int i = 0; i < count; i++) {
        uint32_t length;

        memcpy(&length, data + 2 + 4 * i, sizeof length);
        length = length < n - at ? length : (uint32_t)(n - at);
        snprintf(names[i], MAX_NAME, "file-%05d-of-%05d.gguf", i + 1, count);
        lent[i] = (struct ckpt_lent){names[i], {(const char *)data + at, length}};
        at += length;
    }
    return count;
}

/* What `inferd inspect` shows of a file that is refused: what stands before the fault. */
static void look(const struct ckpt_lent *lent, int count)
{
    struct checkpoint *c;

    if (checkpoint_look_at(lent, count, &c) != OK)
        return;
    walk_require(c->refusal != NULL);
    walk_checkpoint(c);
    checkpoint_close(c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct ckpt_lent lent[MAX_PARTS] = {{"file", {(const char *)data, n}}};
    char names[MAX_PARTS][MAX_NAME];
    struct checkpoint *c;
    int count = 1;

    if (n > 0 && data[0] == 'S')
        count = cut(data, n, names, lent);
    if (count == 0)
        return 0;
    if (checkpoint_borrow(lent, count, &c) != OK) {
        walk_require(!c && strncmp(fail_text(), "file", 4) == 0);
        look(lent, count);
        return 0;
    }
    walk_checkpoint(c);
    checkpoint_close(c);
    return 0;
}
