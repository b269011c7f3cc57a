/* report.cc - what the emulator says when a kernel does what it must not: which kernel, where, and
 * who waits for what. Only text: fiber.cc decides what becomes of the block. */
#include "tests/simt/engine.h"

#include <cstdarg>
#include <cstdlib>
#include <cxxabi.h>
#include <dlfcn.h>
#include <elf.h>
#include <fstream>
#include <iterator>
#include <map>

namespace simt
{

/* Functions of this program by address, static ones too, which dladdr does not know. */
static std::map<uintptr_t, std::string> own_functions()
{
    std::map<uintptr_t, std::string> all;
    std::ifstream f("/proc/self/exe", std::ios::binary);
    const std::string file{std::istreambuf_iterator<char>(f), {}};
    Dl_info here;
    if (file.size() < sizeof(Elf64_Ehdr) || !dladdr(reinterpret_cast<void *>(own_functions), &here))
        return all;
    const auto *head = reinterpret_cast<const Elf64_Ehdr *>(file.data());
    const auto *section = reinterpret_cast<const Elf64_Shdr *>(file.data() + head->e_shoff);
    const uintptr_t base = head->e_type == ET_DYN ? reinterpret_cast<uintptr_t>(here.dli_fbase) : 0;
    for (int i = 0; i < head->e_shnum; i++) {
        if (section[i].sh_type != SHT_SYMTAB)
            continue;
        const char *names = file.data() + section[section[i].sh_link].sh_offset;
        const auto *symbol =
            reinterpret_cast<const Elf64_Sym *>(file.data() + section[i].sh_offset);
        for (size_t k = 0; k < section[i].sh_size / sizeof *symbol; k++)
            if (ELF64_ST_TYPE(symbol[k].st_info) == STT_FUNC)
                all[base + symbol[k].st_value] = names + symbol[k].st_name;
    }
    return all;
}

std::string fn_name(const void *fn)
{
    static const std::map<uintptr_t, std::string> own = own_functions();
    const auto at = own.find(reinterpret_cast<uintptr_t>(fn));
    if (at != own.end()) {
        int st;
        char *d = abi::__cxa_demangle(at->second.c_str(), nullptr, nullptr, &st);
        std::string r = st == 0 && d ? d : at->second;
        std::free(d);
        return r;
    }
    char b[32];
    std::snprintf(b, sizeof b, "kernel at %p", fn);
    return b;
}
std::string strf(const char *f, ...)
{
    char b[1024];
    va_list ap;
    va_start(ap, f);
    std::vsnprintf(b, sizeof b, f, ap);
    va_end(ap);
    return b;
}
const char *kind_name(const Thread &t)
{
    if (t.state == IN_BARRIER)
        return "__syncthreads/bar.sync";
    switch (t.kind) {
    case K_SYNCWARP:
        return "__syncwarp";
    case K_SHFL:
        return "__shfl_*_sync";
    case K_VOTE_BALLOT:
        return "__ballot_sync";
    case K_VOTE_ANY:
        return "__any_sync";
    case K_VOTE_ALL:
        return "__all_sync";
    case K_MATCH_ANY:
        return "__match_any_sync";
    case K_REDUCE:
        return "__reduce_*_sync";
    case K_LDMATRIX:
        return "ldmatrix";
    case K_LDMATRIX_T:
        return "ldmatrix.trans";
    default:
        return "mma.sync";
    }
}
std::string where(Engine *e)
{
    std::string r = strf("simt: in %s, grid (%u,%u,%u) block (%u,%u,%u), at block (%u,%u,%u)",
                         fn_name(e->desc->fn).c_str(), gridDim.x, gridDim.y, gridDim.z, blockDim.x,
                         blockDim.y, blockDim.z, blockIdx.x, blockIdx.y, blockIdx.z);
    if (self)
        r += strf(", thread (%u,%u,%u)", self->tidx.x, self->tidx.y, self->tidx.z);
    return r;
}
std::string deadlock_report(Engine *e)
{
    std::string r = "deadlock: every remaining thread waits\n";
    int lines = 0;
    for (int i = 0; i < e->nthreads && lines < 24;) { // group runs of threads with the same wait
        Thread &a = e->threads[i];
        int j = i;
        while (j + 1 < e->nthreads && e->threads[j + 1].state == a.state &&
               (a.state == DONE ||
                (e->threads[j + 1].line == a.line && e->threads[j + 1].kind == a.kind &&
                 e->threads[j + 1].mask == a.mask)))
            j++;
        if (a.state == DONE)
            r += strf("    threads %d..%d: exited\n", i, j);
        else if (a.state == IN_BARRIER)
            r += strf("    threads %d..%d: in %s (barrier %d) at %s:%d\n", i, j, kind_name(a),
                      a.bar, a.file, a.line);
        else
            r += strf("    threads %d..%d: in %s mask %08x at %s:%d\n", i, j, kind_name(a), a.mask,
                      a.file, a.line);
        lines++;
        i = j + 1;
    }
    return r;
}

} // namespace simt
