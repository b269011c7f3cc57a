/* fuzz_encode.c - any bytes as a text for a tokenizer of each kind, those of the fixtures
 * (tests/data/tokenizer/json). The first byte of the input chooses. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/text/tokenizer_json.h"
#include "kernels/base/json.h"
#include "kernels/base/mem.h"
#include "kernels/base/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static const char *const name[] = {"llama2",        "gemma",    "mistral-split", "t5",
                                   "xlm",           "bert",     "words",         "ctc",
                                   "unigram-bytes", "clip",     "kimi",          "falcon",
                                   "o200k",         "deepseek", "odd-pattern",   "bpe-prefix"};
enum { N_NAMES = sizeof name / sizeof name[0] };
static struct tokenizer *tokenizer[N_NAMES];

static void require(bool holds)
{
    if (!holds)
        abort();
}

static struct tokenizer *load(const char *which)
{
    struct arena a = {0};
    struct buf json = {0};
    struct tokenizer *t = NULL;
    const struct json *root;
    char path[128], *text;
    size_t n;
    snprintf(path, sizeof path, "tests/data/tokenizer/json/%s.json", which);
    require(file_read(path, 1 << 22, &text, &n) == OK && json_parse(&a, text, n, &root) == OK);
    json_write(&json, json_get(root, "tokenizer"));
    struct tokenizer_files f = {.tokenizer = {json.data, json.len}, .bos = -1, .eos = -1};
    require(tokenizer_json_read(&f, &t) == OK);
    buf_clear(&json);
    xfree(text);
    arena_clear(&a);
    return t;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n == 0)
        return 0;
    int which = data[0] % N_NAMES;
    struct bytes text = {(const char *)data + 1, n - 1};
    struct tokens ids = {0};
    struct buf out = {0};
    struct detok d = {0};
    if (!tokenizer[which])
        tokenizer[which] = load(name[which]);
    const struct tokenizer *t = tokenizer[which];
    require(tokenizer_encode(t, text, data[0] & 0x80 ? ENCODE_SPECIAL : 0, &ids) == OK);
    for (int i = 0; i < ids.n; i++) {
        require(ids.id[i] >= 0 && ids.id[i] < tokenizer_n_vocab(t));
        detok_push(t, &d, ids.id[i], true, &out);
        require(utf8_valid_prefix(out.data ? out.data : "", out.len) == out.len);
    }
    detok_flush(&d, &out);
    tokens_clear(&ids);
    buf_clear(&out);
    return 0;
}
