/* test_inspect.c - of any GGUF file inspect tells what can be read, and why it cannot be run. */
#include "engine/engine.h"
#include "tests/support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/load/gguf.h"
#include "tests/support/gguf.h"

static char folder[64];

static const char *put(const char *name, const void *p, size_t n)
{
    static char path[128];
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", folder, name);
    f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(p, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
    return path;
}

/* Does inspect say `why` and `shows` of the file, and not `hides`? NULL: anything. */
static void check(const char *path, const char *why, const char *shows, const char *hides)
{
    struct buf out = {0};

    if (engine_inspect(path, &out) != OK)
        fail_msg("%s", fail_text());
    const char *reason = strstr(out.data, "\ncannot run ");
    if (!reason || !strstr(reason, why) || (shows && !strstr(out.data, shows)) ||
        (hides && strstr(out.data, hides)))
        fail_msg("\"%s\" should say \"%s\" and \"%s\" and not \"%s\"", out.data, why,
                 shows ? shows : "", hides ? hides : "");
    buf_clear(&out);
}

/* A file with a key of each sort and two tensors of 64 bytes. */
static struct buf small(void)
{
    struct buf b = gguf_head(2, 3);

    gguf_text(&b, "whole");
    gguf_u32(&b, GGUF_U64);
    gguf_u64(&b, UINT64_MAX);
    gguf_text(&b, "odd");
    gguf_u32(&b, GGUF_STRING);
    gguf_text(&b, "a\x1b[1m\xc2\x9b\xff \xe2\x82\xac.");
    gguf_number(&b, "general.alignment", 64);
    gguf_tensor(&b, "first", (struct gguf_shape){1, {16}}, 0, 0);
    gguf_tensor(&b, "second", (struct gguf_shape){1, {16}}, 0, 64);
    gguf_pad(&b, 64, 128);
    return b;
}

static void test_faults(void **state)
{
    struct buf b = small();
    size_t key = 0;

    (void)state;
    while (memcmp(b.data + key, "general.alignment", 17) != 0)
        key++;
    check(put("a.gguf", b.data, b.len), "general.architecture is missing", "second", NULL);
    check(put("a.gguf", b.data, b.len), "", " 18446744073709551615\n", "\x1b");
    check(put("a.gguf", b.data, b.len), "", " a [1m   \xe2\x82\xac.\n", NULL);
    check(put("a.gguf", b.data, b.len - 1), "tensor second: needs 64 bytes", "first ", "second  ");
    check(put("a.gguf", b.data, b.len - 128), "tensor first: needs 64", "alignment", "first  ");
    check(put("a.gguf", b.data, key + 4), "key 3 of 3: the file ends", "odd ", "alignment");
    check(put("a.gguf", b.data, 20), "ends inside its header", "version 3", "tensors");
    b.data[4] = 9;
    check(put("a.gguf", b.data, b.len), "has GGUF version 9", "format     gguf,", "odd");
    memcpy(b.data + 4, "\0\0\0\3", 4);
    check(put("a.gguf", b.data, b.len), "big-endian", "format     gguf,", "odd");
    unlink(put("a.gguf", "", 0));
    buf_clear(&b);
}

/* A part of a split model alone, and the first without the others. */
static void test_parts(void **state)
{
    static const char *const name[] = {"m-00001-of-00003.gguf", "m-00002-of-00003.gguf"};
    static const char *const why[] = {"part 2 of 3: cannot open", "is part 2 of 3"};

    (void)state;
    for (int i = 0; i < 2; i++) {
        char path[128], *data;
        size_t n;

        snprintf(path, sizeof path, "tests/data/models/llama-split-0000%d-of-00003.gguf", i + 1);
        assert_int_equal(file_read(path, 1 << 20, &data, &n), OK);
        check(put(name[i], data, n), why[i], "split.no ", NULL);
        snprintf(path, sizeof path, "%s/%s", folder, name[i]);
        check(path, why[i], i ? "blk.1." : "token_embd.weight", NULL);
        unlink(path);
        xfree(data);
    }
}

/* GGUF files that hold something else. */
static void test_others(void **state)
{
    static const struct {
        const char *type, *use;
    } others[] = {
        {"adapter", "merge it into its base model"},
        {"logits", "inferd perplexity --reference"},
        {"mmproj", "the text model is a file of its own"},
        {"vocab", "general.type is \"vocab\"\n"},
    };

    (void)state;
    check("tests/data/quantize/imatrix.gguf", "inferd quantize --imatrix", ".in_sum2", NULL);
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        struct buf b = gguf_head(0, 1);

        gguf_text(&b, "general.type");
        gguf_u32(&b, GGUF_STRING);
        gguf_text(&b, others[i].type);
        check(put("a.gguf", b.data, b.len), others[i].use, "keys (1)", NULL);
        buf_clear(&b);
    }
    unlink(put("a.gguf", "", 0));
}

static int set_up(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/inferd-inspect-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    return rmdir(folder); /* fails when a test left anything */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_faults),
        cmocka_unit_test(test_parts),
        cmocka_unit_test(test_others),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
