/* test_split.c - checkpoints in several GGUF files: read as one, and every way in which the parts
 * can disagree is refused by a message that says which part and which key. */
#include "engine/load/split.h"

#include <string.h>

#include "tests/support/gguf.h"
#include "tests/support/test.h"

enum { PARTS = 3 };

/* What a part says about itself; -1: no such key. */
struct says {
    int no, count, tensors;
};

/* A part with one tensor of 4 floats, or none. */
static struct buf part(struct says s, const char *tensor)
{
    int keys = 1 + (s.no >= 0) + (s.count >= 0) + (s.tensors >= 0);
    struct buf b = gguf_head(tensor != NULL, (uint64_t)keys);

    gguf_number(&b, "general.number", 7 + (uint32_t)s.no);
    if (s.no >= 0)
        gguf_number(&b, "split.no", (uint32_t)s.no);
    if (s.count >= 0)
        gguf_number(&b, "split.count", (uint32_t)s.count);
    if (s.tensors >= 0)
        gguf_number(&b, "split.tensors.count", (uint32_t)s.tensors);
    if (tensor)
        gguf_tensor(&b, tensor, (struct gguf_shape){1, {4}}, 0, 0);
    gguf_pad(&b, 32, tensor ? 16 : 0);
    return b;
}

struct files {
    struct buf b[PARTS];
    struct ckpt_lent lent[PARTS];
    int n;
};

static struct files three(void)
{
    static const char *const name[PARTS] = {
        "dir/m-00001-of-00003.gguf", "dir/m-00002-of-00003.gguf", "dir/m-00003-of-00003.gguf"};
    static const char *const tensor[PARTS] = {NULL, "a", "b"};
    struct files f = {.n = PARTS};

    for (int i = 0; i < PARTS; i++) {
        f.b[i] = part((struct says){i, 3, 2}, tensor[i]);
        f.lent[i].path = name[i];
    }
    return f;
}

static enum status opened(struct files *f, struct checkpoint **c)
{
    for (int i = 0; i < f->n; i++)
        f->lent[i].bytes = (struct bytes){f->b[i].data, f->b[i].len};
    return checkpoint_borrow(f->lent, f->n, c);
}

static void clear(struct files *f)
{
    for (int i = 0; i < PARTS; i++)
        buf_clear(&f->b[i]);
}

static void put(struct files *f, int i, struct buf b)
{
    buf_clear(&f->b[i]);
    f->b[i] = b;
}

static void refused(struct files *f, enum status status, const char *word)
{
    struct checkpoint *c;

    assert_int_equal(opened(f, &c), status);
    assert_null(c);
    if (!strstr(fail_text(), word))
        fail_msg("\"%s\" should have \"%s\"", fail_text(), word);
    clear(f);
}

static void test_whole(void **state)
{
    struct files f = three();
    struct checkpoint *c;

    (void)state;
    assert_int_equal(opened(&f, &c), OK);
    assert_int_equal(c->n_files, 3);
    assert_int_equal(c->n_tensors, 2);
    assert_int_equal(checkpoint_bytes(c), f.b[0].len + f.b[1].len + f.b[2].len);
    assert_int_equal(checkpoint_key(c, "general.number")->integer, 7); /* the first part's */
    for (int i = 1; i < PARTS; i++) {
        const struct ckpt_tensor *t = checkpoint_tensor(c, i == 1 ? "a" : "b");
        struct tensor v = checkpoint_view(c, t);

        assert_int_equal(t->file, i);
        assert_ptr_equal(v.data, f.b[i].data + f.b[i].len - 16);
    }
    checkpoint_close(c);
    f.lent[0] = f.lent[1];
    f.b[0].data[0] = 'g'; /* the first is no GGUF file now, but it is not asked for */
    refused(&f, ERR_UNSUPPORTED, "not a checkpoint of a known format");
}

/* Part i of three says something else. */
static void test_lies(void **state)
{
    static const struct {
        int part;
        struct says says;
        const char *tensor, *word;
    } lies[] = {
        {0, {-1, 3, 2}, NULL, "key split.no is missing: which of 3 parts"},
        {0, {3, 3, 2}, NULL, "key split.no is 3, but split.count says 3 parts"},
        {0, {1, 3, 2}, NULL, "is part 2 of 3 of a split checkpoint; name part 1"},
        {0, {0, 3, 3}, NULL, "key split.tensors.count is 2, but part 1 says 3"},
        {0, {0, 2, 2}, NULL, "does not end in -00001-of-00002.gguf"},
        {0, {0, 70000, 2}, NULL, "key split.count: expected a whole number from 0 to 1024"},
        {0, {0, 1, 5}, "c", "key split.tensors.count is 5, but there are 1 tensors"},
        {0, {2, -1, -1}, "c", "key split.no is 2, but split.count says 1 parts"},
        {1, {-1, -1, -1}, "a", "part 2 of 3: dir/m-00002-of-00003.gguf: key split.count is 1, but"},
        {1, {1, 4, 2}, "a", "part 2 of 3: dir/m-00002-of-00003.gguf: key split.count is 4, but"},
        {2, {1, 3, 2}, "b", "m-00003-of-00003.gguf: key split.no is 1, expected 2 for part 3 of 3"},
        {2, {2, 3, 9}, "b", "key split.tensors.count is 9, but part 1 says 2"},
        {2, {2, 3, 2}, "a", "tensor a stands twice"},
        {2, {2, 3, 2}, NULL, "key split.tensors.count is 2, but there are 1 tensors"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        struct files f = three();

        put(&f, lies[i].part, part(lies[i].says, lies[i].tensor));
        refused(&f, i == 2 ? ERR_UNSUPPORTED : ERR_FORMAT, lies[i].word);
    }
}

static void test_files(void **state)
{
    struct files f = three();

    (void)state;
    f.n = 2;
    refused(&f, ERR_NOT_FOUND, "part 3 of 3: dir/m-00003-of-00003.gguf: no such file");
    f = three();
    f.lent[0].path = "m.gguf";
    refused(&f, ERR_FORMAT, "m.gguf: is part 1 of 3 of a split checkpoint, but its name does not");
    f = three();
    memcpy(f.b[1].data, "GGML", 4);
    refused(&f, ERR_FORMAT, "part 2 of 3: dir/m-00002-of-00003.gguf: is not a GGUF file");
    f = three();
    f.b[2].len -= 4;
    refused(&f, ERR_FORMAT, "part 3 of 3: tensor b: needs 16 bytes");
    f = three();
    f.b[1].len = 20;
    refused(&f, ERR_FORMAT,
            "part 2 of 3: dir/m-00002-of-00003.gguf: the file ends inside its head");
    f = three();
    memcpy(f.b[1].data + 4, "\0\0\0\3", 4);
    refused(&f, ERR_UNSUPPORTED, "m-00002-of-00003.gguf: is a big-endian GGUF file");
    f = three();
    put(&f, 0, gguf_head(0, 1));
    gguf_text(&f.b[0], "split.count");
    gguf_u32(&f.b[0], 8);
    gguf_text(&f.b[0], "three");
    refused(&f, ERR_FORMAT, "key split.count: expected a whole number");
    f = three();
    put(&f, 0, gguf_head(0, 1));
    gguf_text(&f.b[0], "split.count");
    gguf_u32(&f.b[0], 5);
    gguf_u32(&f.b[0], 0xffffffff); /* -1 as i32 */
    refused(&f, ERR_FORMAT, "key split.count: expected a whole number");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole),
        cmocka_unit_test(test_lies),
        cmocka_unit_test(test_files),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
