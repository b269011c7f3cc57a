/* test_resident.c - packed weights are loaded without a second copy of the model: the greatest
 * resident size of a process that loads a directory, beside that of the weights themselves.
 *
 * The directories are written here: six layers, 100 million weights of no meaning. More than the
 * weights is what is repacked at once (BATCH_BYTES in repack.c, which bounds the pages of the
 * source too), and what the threads need: together less than half the file. */
#include "tests/support/test.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kernels/base/buf.h"
#include "kernels/base/mem.h"
#include "tests/support/step.h"

#define FOLDER "build/resident-test"

#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif

enum { LAYERS = 6, EMBD = 1024, FF = 4096, VOCAB = 256, KV = 256, GROUP = 128 };
static const size_t extra = (size_t)20 << 20;

struct part {
    const char *suffix, *type;
    int64_t shape[2];
    size_t bytes;
    uint32_t word; /* its bytes, over and over; 0: any */
};

static const struct {
    const char *name;
    int64_t n, k;
} linears[] = {
    {"self_attn.q_proj", EMBD, EMBD}, {"self_attn.k_proj", KV, EMBD},
    {"self_attn.v_proj", KV, EMBD},   {"self_attn.o_proj", EMBD, EMBD},
    {"mlp.gate_proj", FF, EMBD},      {"mlp.up_proj", FF, EMBD},
    {"mlp.down_proj", EMBD, FF},
};
enum { N_LINEARS = sizeof linears / sizeof linears[0] };

struct writer {
    struct buf header;
    FILE *f;   /* NULL: the header is being made */
    size_t at; /* bytes of data up to here */
};

static void put(struct writer *w, const char *name, const struct part *p)
{
    static uint32_t words[1 << 14];
    int64_t n = p->shape[1] ? 2 : 1;

    if (!w->f) { /* first the header, then the same again for the bytes */
        buf_printf(&w->header, "%s\"%s%s\":{\"dtype\":\"%s\",\"shape\":[%lld", w->at ? "," : "{",
                   name, p->suffix, p->type, (long long)p->shape[0]);
        if (n == 2)
            buf_printf(&w->header, ",%lld", (long long)p->shape[1]);
        buf_printf(&w->header, "],\"data_offsets\":[%zu,%zu]}", w->at, w->at + p->bytes);
    }
    for (size_t i = 0; w->f && i < sizeof words / sizeof *words; i++)
        words[i] = p->word ? p->word : (uint32_t)(i * 2654435761u);
    for (size_t left = p->bytes; w->f && left > 0;) {
        size_t piece = left < sizeof words ? left : sizeof words;

        assert_int_equal(fwrite(words, 1, piece, w->f), piece);
        left -= piece;
    }
    w->at += p->bytes;
}

static void put_gptq(struct writer *w, const char *name, int64_t n, int64_t k)
{
    int64_t groups = k / GROUP;

    put(w, name, &(struct part){".qweight", "I32", {k / 8, n}, (size_t)(k * n / 2), 0});
    put(w, name,
        &(struct part){".qzeros", "I32", {groups, n / 8}, (size_t)(groups * n / 2), 0x77777777});
    put(w, name,
        &(struct part){".scales", "F16", {groups, n}, (size_t)(groups * n * 2), 0x20002000});
}

static void put_nvfp4(struct writer *w, const char *name, int64_t n, int64_t k)
{
    put(w, name, &(struct part){".weight_packed", "U8", {n, k / 2}, (size_t)(k * n / 2), 0});
    put(w, name,
        &(struct part){".weight_scale", "F8_E4M3", {n, k / 16}, (size_t)(k * n / 16), 0x38383838});
    put(w, name, &(struct part){".weight_global_scale", "F32", {1, 0}, 4, 0x42c80000});
}

static void put_f16(struct writer *w, const char *name, int64_t n, int64_t k)
{
    put(w, name,
        &(struct part){".weight", "F16", {n, k}, (size_t)(n * (k ? k : 1) * 2), 0x2c002c00});
}

static void put_all(struct writer *w, bool gptq)
{
    char name[96];

    w->at = 0;
    put_f16(w, "model.embed_tokens", VOCAB, EMBD);
    put_f16(w, "model.norm", EMBD, 0);
    put_f16(w, "lm_head", VOCAB, EMBD);
    for (int l = 0; l < LAYERS; l++) {
        for (int i = 0; i < N_LINEARS; i++) {
            snprintf(name, sizeof name, "model.layers.%d.%s", l, linears[i].name);
            (gptq ? put_gptq : put_nvfp4)(w, name, linears[i].n, linears[i].k);
        }
        snprintf(name, sizeof name, "model.layers.%d.input_layernorm", l);
        put_f16(w, name, EMBD, 0);
        snprintf(name, sizeof name, "model.layers.%d.post_attention_layernorm", l);
        put_f16(w, name, EMBD, 0);
    }
}

static void write_folder(bool gptq)
{
    struct writer w = {0};
    uint64_t n;
    FILE *f;

    mkdir(FOLDER, 0777);
    f = fopen(FOLDER "/config.json", "w");
    assert_non_null(f);
    fprintf(f,
            "{\"model_type\":\"llama\",\"num_hidden_layers\":%d,\"hidden_size\":%d,"
            "\"intermediate_size\":%d,\"num_attention_heads\":16,\"num_key_value_heads\":4,"
            "\"max_position_embeddings\":256,\"rms_norm_eps\":1e-5,\"vocab_size\":%d,"
            "\"quantization_config\":{\"quant_method\":\"%s\",\"bits\":4,\"group_size\":%d}}",
            LAYERS, EMBD, FF, VOCAB, gptq ? "gptq" : "compressed-tensors", GROUP);
    fclose(f);
    put_all(&w, gptq);
    buf_putc(&w.header, '}');
    w.f = fopen(FOLDER "/model.safetensors", "wb");
    assert_non_null(w.f);
    n = w.header.len;
    fwrite(&n, sizeof n, 1, w.f);
    fwrite(w.header.data, 1, w.header.len, w.f);
    put_all(&w, gptq);
    assert_int_equal(fclose(w.f), 0);
    buf_clear(&w.header);
}

/* The greatest resident size that this process has had. */
static size_t peak_resident(void)
{
    unsigned long kilobytes = 0;
    FILE *f = fopen("/proc/self/status", "r");
    char line[256];

    while (f && fgets(line, sizeof line, f)) {
        if (strncmp(line, "VmHWM:", 6) == 0)
            kilobytes = strtoul(line + 6, NULL, 10);
    }
    if (f)
        fclose(f);
    return (size_t)kilobytes << 10;
}

struct sizes {
    size_t before, peak, weights;
};

/* In a process of its own, which had no greater peak before. */
static void load(struct sizes *out)
{
    struct step_options o = {.path = FOLDER,
                             .backend = &backend_cpu,
                             .threads = 2,
                             .kv = DT_F32,
                             .max_rows = 1,
                             .max_seqs = 1,
                             .max_tokens = 16};
    struct stepper s;
    int pipes[2], status;
    pid_t child;

    assert_int_equal(pipe(pipes), 0);
    child = fork();
    if (child == 0) {
        struct sizes mine = {.before = peak_resident()};

        if (step_open(&s, &o) != OK) {
            fprintf(stderr, "%s\n", fail_text());
            _exit(1);
        }
        mine.peak = peak_resident();
        mine.weights = s.m->weight_bytes;
        _exit(write(pipes[1], &mine, sizeof mine) == sizeof mine ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(read(pipes[0], out, sizeof *out), sizeof *out);
    close(pipes[0]);
    close(pipes[1]);
}

static void check(bool gptq)
{
    struct sizes z;

    write_folder(gptq);
    load(&z);
    unlink(FOLDER "/model.safetensors");
    print_message("%s: weights %zu MiB, peak %zu MiB more than at the start\n",
                  gptq ? "gptq" : "nvfp4", z.weights >> 20, (z.peak - z.before) >> 20);
    assert_true(z.weights > 2 * extra); /* else a second copy would go unseen */
    if (z.peak - z.before > z.weights + extra)
        fail_msg("weights of %zu MiB took %zu MiB to load", z.weights >> 20,
                 (z.peak - z.before) >> 20);
}

static void test_packed(void **state)
{
    (void)state;
    if (SANITIZED)
        SKIP("a sanitizer's own memory is counted too");
    if (peak_resident() == 0)
        SKIP("there is no /proc/self/status");
    check(true);
    check(false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_packed)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
