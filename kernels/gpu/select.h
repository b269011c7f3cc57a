/* select.h - the configs that are built in, and which of all there are a GPU gets.
 *
 * From the strongest: --gpu-config FILE, the user's cache (what `inferd tune` wrote), the built-in
 * one of exactly this GPU, the built-in one of a near part or of the same capability, scaled to
 * this GPU's multiprocessors and memory, its family's, the generic one. A GPU is told by PCI id,
 * multiprocessors, capability and memory, never by name. A file that is broken, of another GPU or
 * of other kernels is refused by name, and the next in line is taken. */
#ifndef KERNELS_GPU_SELECT_H
#define KERNELS_GPU_SELECT_H

#include "kernels/gpu/config.h"

struct gpu_facts { /* what a device says of itself; 0: it does not */
    uint32_t pci;  /* vendor << 16 | device */
    int cc, sms, mhz;
    int64_t mem_bytes;
    double gbs; /* of its memory, by clock and width */
    bool mig;   /* a slice of a GPU */
    int64_t l2_bytes;
    int cuda;        /* of the runtime, as 13000 */
    char driver[32]; /* its build, as "580.95.05" */
};

struct gpu_sources {
    const char *file;  /* --gpu-config, or NULL */
    const char *cache; /* folder of the user's cache, or NULL */
    bool strict;       /* refuse instead of falling back */
};

enum gpu_how { GPU_FILE, GPU_CACHE, GPU_EXACT, GPU_NEAR, GPU_FAMILY, GPU_GENERIC, N_GPU_HOW };

struct gpu_selected {
    struct gpu_config config;
    struct gpu_facts facts;
    enum gpu_how how;
    const char *refused; /* files that were not taken, and why, or "" */
};

/* All built-in configs, in order of file name; they are checked when they are built in. */
enum status gpu_builtins(struct arena *a, struct gpu_config **out, int *n);

/* ERR_UNSUPPORTED: inferd cannot run on this GPU, or `strict` and the config is not of exactly this
 * GPU, or a file was refused. Refused files are logged. */
enum status gpu_select(struct arena *a, const struct gpu_facts *f, const struct gpu_sources *s,
                       struct gpu_selected *out);

/* The file in the user's cache for this GPU and these kernels; arena memory. */
const char *gpu_cache_path(struct arena *a, const char *folder, const struct gpu_facts *f);
/* OK: `c` is of the GPU with these facts. Else ERR_INVALID says what differs. */
enum status gpu_fits(const struct gpu_config *c, const struct gpu_facts *f);

const char *gpu_how_name(enum gpu_how h);
/* One line for the log: "rtx4090 (derived from family-ada), exact". */
const char *gpu_selected_title(struct arena *a, const struct gpu_selected *s);

/* The same as a JSON object: id, name, how it was selected, provenance, files refused. `precision`
 * (NULL: none) is a model's: with it comes a profile, the SHA-256 of the configuration and it. */
void gpu_selected_json(struct buf *out, const struct gpu_selected *s, const char *precision);

/* Made by kernels/configs/embed.c at build time; the last has text NULL. */
extern const struct gpu_embedded {
    const char *file, *text;
} gpu_embedded[];

#endif
