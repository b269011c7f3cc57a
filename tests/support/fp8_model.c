/* fp8_model.c - see fp8_model.h. */
#include "tests/support/fp8_model.h"

#include <math.h>
#include <stdio.h>

#include "kernels/base/mem.h"
#include "tests/support/fixture.h"
#include "tests/support/test.h"

const char *const fp8_models[FP8_MODELS] = {"mo-fp8", "mo-fp8-channel", "fp8-ue8m0"};

static double off(const float *got, const struct fixture *f, const char *name)
{
    const float *want = fixture_f32(f, name);
    size_t n = fixture_count(fixture_get(f, name, "f4"));
    double most = 0, worst = 0;

    for (size_t i = 0; i < n; i++) {
        double d = fabs((double)got[i] - (double)want[i]);

        most = fmax(most, fabs((double)want[i]));
        worst = d > worst || isnan(d) ? d : worst;
    }
    return worst / most;
}

void fp8_model_run(int i, const struct backend *b, enum x_type round_x,
                   void (*prepare)(struct stepper *), double *exact, double *rounded)
{
    char path[128], file[128];
    struct step_options o = {.path = path,
                             .backend = b,
                             .isa = b == &backend_cpu ? "scalar" : NULL,
                             .threads = 1,
                             .round_x = round_x,
                             .kv = DT_F32,
                             .max_rows = FP8_TOKENS,
                             .max_seqs = 1,
                             .max_tokens = FP8_TOKENS};
    struct stepper s;
    struct fixture f;

    snprintf(path, sizeof path, "tests/data/hf/%s", fp8_models[i]);
    snprintf(file, sizeof file, "tests/data/fp8/%s.bin", fp8_models[i]);
    fixture_load(&f, file);
    if (step_open(&s, &o) != OK)
        fail_msg("%s: %s", fp8_models[i], fail_text());
    if (prepare)
        prepare(&s);
    struct step_seq all = {.n = FP8_TOKENS, .want = FP8_TOKENS, .token = fixture_i32(&f, "token")};
    float *got = xmalloc(sizeof(float) * FP8_TOKENS * (size_t)s.m->net.hp.n_vocab);
    assert_int_equal(step_run(&s, &all, 1, got), OK);
    *exact = off(got, &f, "exact");
    *rounded = off(got, &f, "rounded");
    xfree(got);
    fixture_clear(&f);
    step_close(&s);
}
