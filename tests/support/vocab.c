/* vocab.c - GGUF v3: magic, version, tensor count, key count, then keys: name, type, value. The
 * whole file is mapped; the arrays of numbers are used where they lie. */
#include "tests/support/vocab.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernels/base/mem.h"

enum { T_U32 = 4, T_I32 = 5, T_F32 = 6, T_BOOL = 7, T_STRING = 8, T_ARRAY = 9 };
static const size_t type_bytes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

static void die(const char *what)
{
    fprintf(stderr, "tests/support/vocab.c: %s\n", what);
    abort();
}

struct cursor {
    const char *p, *end;
};

static const char *take(struct cursor *c, size_t n)
{
    if ((size_t)(c->end - c->p) < n)
        die("the file ends early");
    c->p += n;
    return c->p - n;
}

static uint64_t take_u64(struct cursor *c)
{
    uint64_t v;
    memcpy(&v, take(c, 8), 8);
    return v;
}

static uint32_t take_u32(struct cursor *c)
{
    uint32_t v;
    memcpy(&v, take(c, 4), 4);
    return v;
}

static struct bytes take_string(struct cursor *c)
{
    size_t n = take_u64(c);
    return (struct bytes){take(c, n), n};
}

static void take_array(struct cursor *c, struct vocab_file *f, struct bytes key)
{
    uint32_t type = take_u32(c);
    size_t n = take_u64(c);
    if (type != T_STRING) {
        const char *at = take(c, n * type_bytes[type]);
        if (bytes_equal(key, "tokenizer.ggml.scores"))
            f->spec.score = memcpy(xmalloc(n * 4), at, n * 4); /* aligned, unlike the file */
        if (bytes_equal(key, "tokenizer.ggml.token_type"))
            f->spec.type = memcpy(xmalloc(n * 4), at, n * 4);
        return;
    }
    struct bytes *list = xmalloc(n * sizeof *list);
    for (size_t i = 0; i < n; i++)
        list[i] = take_string(c);
    if (bytes_equal(key, "tokenizer.ggml.tokens")) {
        f->token = list;
        f->spec.n_vocab = (int)n;
    } else if (bytes_equal(key, "tokenizer.ggml.merges")) {
        f->merge = list;
        f->spec.n_merges = (int)n;
    } else {
        xfree(list);
    }
}

static void take_scalar(struct cursor *c, uint32_t type, struct tokenizer_spec *spec,
                        struct bytes key)
{
    const char *at = take(c, type_bytes[type]);
    int32_t v = 0;
    memcpy(&v, at, type == T_BOOL ? 1 : type == T_U32 || type == T_I32 ? 4 : 0);
    if (bytes_equal(key, "tokenizer.ggml.bos_token_id"))
        spec->bos = v;
    if (bytes_equal(key, "tokenizer.ggml.eos_token_id"))
        spec->eos = v;
    if (bytes_equal(key, "tokenizer.ggml.unknown_token_id"))
        spec->unk = v;
    if (bytes_equal(key, "tokenizer.ggml.add_bos_token"))
        spec->add_bos = v;
    if (bytes_equal(key, "tokenizer.ggml.add_eos_token"))
        spec->add_eos = v;
    if (bytes_equal(key, "tokenizer.ggml.add_space_prefix"))
        spec->add_space_prefix = v;
}

static void read_keys(struct vocab_file *f)
{
    struct cursor c = {f->data, f->data + f->size};
    if (memcmp(take(&c, 4), "GGUF", 4) != 0 || take_u32(&c) != 3)
        die("not a GGUF file of version 3");
    take_u64(&c);
    for (uint64_t n = take_u64(&c); n > 0; n--) {
        struct bytes key = take_string(&c);
        uint32_t type = take_u32(&c);
        if (type == T_ARRAY) {
            take_array(&c, f, key);
        } else if (type == T_STRING) {
            struct bytes s = take_string(&c);
            if (bytes_equal(key, "tokenizer.ggml.model"))
                f->model = xstrndup(s.p, s.n);
            if (bytes_equal(key, "tokenizer.ggml.pre"))
                f->pre = xstrndup(s.p, s.n);
        } else {
            take_scalar(&c, type, &f->spec, key);
        }
    }
}

bool vocab_file_open(const char *path, struct vocab_file *f)
{
    *f = (struct vocab_file){.spec = {.bos = -1, .eos = -1, .unk = -1}};
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    if (fstat(fd, &st) != 0)
        die("fstat");
    f->size = (size_t)st.st_size;
    f->data = mmap(NULL, f->size, PROT_READ, MAP_PRIVATE, fd, 0);
    close(fd);
    if (f->data == MAP_FAILED)
        die("mmap");
    f->spec.add_space_prefix = true;
    read_keys(f);
    f->spec.model = f->model;
    f->spec.pre = f->pre;
    f->spec.token = f->token;
    f->spec.merge = f->merge;
    return true;
}

void vocab_file_close(struct vocab_file *f)
{
    munmap(f->data, f->size);
    xfree(f->token);
    xfree(f->merge);
    xfree(f->model);
    xfree(f->pre);
    xfree((void *)f->spec.score);
    xfree((void *)f->spec.type);
}

struct tokenizer *vocab_file_tokenizer(const char *path)
{
    struct vocab_file f;
    struct tokenizer *t = NULL;
    if (!vocab_file_open(path, &f))
        return NULL;
    if (tokenizer_new(&f.spec, &t) != OK)
        die(fail_text());
    vocab_file_close(&f);
    return t;
}

const char *vocab_default_model(void)
{
    static char path[4096];
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    bool xdg = cache && cache[0] == '/';
    snprintf(path, sizeof path, "%s%s/inferd/models/SmolLM2-135M-Instruct-Q4_1.gguf",
             xdg    ? cache
             : home ? home
                    : "",
             xdg ? "" : "/.cache");
    return path;
}
