/* driver.c - see driver.h. Containers may have the driver's libraries in a folder of their own
 * without telling the loader, and sandboxes hide what the kernel says of it under /sys. The
 * management library is opened at run time as libcuda is, and asked only when something is
 * missing. */
#include "kernels/cuda/driver.h"

#include <cuda_runtime_api.h>
#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* "" is wherever the loader looks. */
static const char *const folders[] = {"", "/usr/local/nvidia/lib64/", "/usr/lib/wsl/lib/",
                                      "/usr/lib64-nvidia/", "/usr/local/cuda/compat/"};

static void *open_library(const char *name)
{
    char path[128];
    void *library = NULL;
    for (size_t i = 0; !library && i < sizeof folders / sizeof *folders; i++) {
        snprintf(path, sizeof path, "%s%s", folders[i], name);
        library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    }
    return library;
}

/* It stays open: the runtime then gets this one by its name. */
static void find(void)
{
    open_library("libcuda.so.1");
}

void driver_find(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, find);
}

/* ---- NVML ------------------------------------------------------------------------------------ */

struct pci_info { /* nvmlPciInfo_t, of version 3 */
    char legacy[16];
    unsigned domain, bus, device, id, subsystem;
    char bus_id[32];
};

/* clang-format off */
struct nvml {
    void *library;
    int (*init)(void);
    int (*shutdown)(void);
    int (*version)(char *, unsigned);
    int (*handle)(const char *bus_id, void **);
    int (*pci)(void *, struct pci_info *);
};
/* clang-format on */

/* False: there is none. A program that holds the functions itself, as tests do, is one too. */
static bool bind(struct nvml *f)
{
    f->library = dlsym(RTLD_DEFAULT, "nvmlInit_v2") ? dlopen(NULL, RTLD_NOW)
                                                    : open_library("libnvidia-ml.so.1");
    const struct {
        const char *name;
        void **to;
    } of[] = {{"nvmlInit_v2", (void **)&f->init},
              {"nvmlShutdown", (void **)&f->shutdown},
              {"nvmlSystemGetDriverVersion", (void **)&f->version},
              {"nvmlDeviceGetHandleByPciBusId_v2", (void **)&f->handle},
              {"nvmlDeviceGetPciInfo_v3", (void **)&f->pci}};
    bool all = f->library != NULL;
    for (size_t i = 0; all && i < sizeof of / sizeof *of; i++) {
        *of[i].to = dlsym(f->library, of[i].name);
        all = *of[i].to != NULL;
    }
    return all;
}

void driver_ask(int index, char *version, size_t n, uint32_t *id)
{
    struct nvml f = {0};
    struct pci_info info = {0};
    char bus[32] = "", text[96] = "";
    void *gpu = NULL;
    *id = 0;
    snprintf(version, n, "%s", "");
    if (cudaDeviceGetPCIBusId(bus, sizeof bus, index) != cudaSuccess)
        cudaGetLastError(); /* not to know is no error of the next call */
    if (bind(&f) && f.init() == 0) {
        if (f.version(text, sizeof text) == 0)
            snprintf(version, n, "%.*s", (int)n - 1, text);
        if (*bus && f.handle(bus, &gpu) == 0 && f.pci(gpu, &info) == 0)
            *id = info.id;
        f.shutdown();
    }
    if (f.library)
        dlclose(f.library);
}
