/* facts.c - what a GPU says of itself, for choosing its configuration (kernels/gpu/select.h). What
 * it does not say stays 0. */
#include <stdio.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/driver.h"

enum { NVIDIA = 0x10de };

static int attribute(enum cudaDeviceAttr which, int index)
{
    int v = 0;
    if (cudaDeviceGetAttribute(&v, which, index) == cudaSuccess)
        return v;
    cudaGetLastError(); /* not to know is no error of the next call */
    return 0;
}

/* The driver's build, which the runtime does not tell; "" where the kernel does not either. */
static void driver_version(char *out, size_t n)
{
    char *text;
    size_t len;
    snprintf(out, n, "%s", "");
    if (file_read("/sys/module/nvidia/version", 256, &text, &len) != OK)
        return;
    text[strcspn(text, "\n")] = '\0';
    snprintf(out, n, "%.31s", text);
    xfree(text);
}

/* In a sandbox: what is missing, of the management library. */
static void ask_driver(int index, uint32_t *id, char *version, size_t n)
{
    char said[32];
    uint32_t other;
    if ((*id & 0xffff) == NVIDIA && *version)
        return;
    driver_ask(index, said, sizeof said, &other);
    if ((*id & 0xffff) != NVIDIA)
        *id = other;
    if (!*version)
        snprintf(version, n, "%s", *said ? said : "unknown");
}

void cuda_facts(int index, const struct cudaDeviceProp *p, struct gpu_facts *f)
{
    uint32_t id = (uint32_t)attribute(cudaDevAttrGpuPciDeviceId, index);
    double khz = attribute(cudaDevAttrMemoryClockRate, index);
    double bits = attribute(cudaDevAttrGlobalMemoryBusWidth, index);
    *f = (struct gpu_facts){.cc = p->major * 10 + p->minor,
                            .sms = p->multiProcessorCount,
                            .mem_bytes = (int64_t)p->totalGlobalMem};
    driver_version(f->driver, sizeof f->driver);
    ask_driver(index, &id, f->driver, sizeof f->driver);
    if ((id & 0xffff) == NVIDIA) /* device, then vendor */
        f->pci = id << 16 | id >> 16;
    f->mhz = attribute(cudaDevAttrClockRate, index) / 1000;
    f->gbs = 2 * khz * (bits / 8) / 1e6; /* two transfers a clock */
    f->l2_bytes = p->l2CacheSize;
    f->mig = strstr(p->name, " MIG ") != NULL;
    if (cudaRuntimeGetVersion(&f->cuda) != cudaSuccess)
        f->cuda = 0;
}
