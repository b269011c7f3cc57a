/* gpu_75.cuh - what sm_75 does in place of the mma.sync and cp.async that it lacks: f16 as two
 * halves of k, int8 as quarters, bf16 by shuffles and FMAs, copies at once. Correct, no claim to
 * speed. Only gpu.cuh includes it, behind the two instructions that sm_75 has:
 *     gpu_75_f16     m16n8k8 of f16
 *     gpu_75_s8      m8n8k16 of int8
 * The emulator runs this code where the device that it emulates is one (SIMT_SM=75), so the
 * fragments' halves and the lanes of the shuffles are tested as the other wrappers are. */
#ifndef KERNELS_CUDA_GPU_75_CUH
#define KERNELS_CUDA_GPU_75_CUH

GPU_FN void gpu_75_mma_f16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
                           const float (&c)[4])
{
    float s[4] = {c[0], c[1], c[2], c[3]};
    GPU_UNROLL
    for (int k = 0; k < 2; k++)
        gpu_75_f16(s, a[2 * k], a[2 * k + 1], b[k]);
    GPU_UNROLL
    for (int i = 0; i < 4; i++)
        d[i] = s[i];
}

GPU_FN void gpu_75_mma_s8_k16(int (&d)[4], const uint32_t (&a)[2], uint32_t b, const int (&c)[4])
{
    int s[4] = {c[0], c[1], c[2], c[3]};
    GPU_UNROLL
    for (int half = 0; half < 2; half++)
        gpu_75_s8(s[2 * half], s[2 * half + 1], a[half], b);
    GPU_UNROLL
    for (int i = 0; i < 4; i++)
        d[i] = s[i];
}

GPU_FN void gpu_75_mma_s8(int (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
                          const int (&c)[4])
{
    const uint32_t low[2] = {a[0], a[1]}, high[2] = {a[2], a[3]};
    int s[4];
    gpu_75_mma_s8_k16(s, low, b[0], c);
    gpu_75_mma_s8_k16(d, high, b[1], s);
}

/* Not inlined: unrolled into attention it would take ptxas minutes. bf16 lies in the lanes of a
 * group of four. */
GPU_APART float4 gpu_75_bf16(uint4 a, uint2 b, float4 c)
{
    const int lane = threadIdx.x & 31, row = lane & ~3, col = (lane & 3) * 2;
    float s[4] = {c.x, c.y, c.z, c.w};
    for (int from = 0; from < 4; from++)
        GPU_UNROLL
    for (int k = 0; k < 2; k++) {
        const uint32_t top = __shfl_sync(GPU_ALL, k ? a.z : a.x, row + from);
        const uint32_t low = __shfl_sync(GPU_ALL, k ? a.w : a.y, row + from);
        GPU_UNROLL
        for (int n = 0; n < 2; n++) {
            const uint32_t w = __shfl_sync(GPU_ALL, k ? b.y : b.x, (col + n) * 4 + from);
            GPU_UNROLL
            for (int e = 0; e < 2; e++) { /* a bf16 is the upper half of a float */
                const float v = __uint_as_float(e ? w & 0xffff0000u : w << 16);
                s[n] = fmaf(__uint_as_float(e ? top & 0xffff0000u : top << 16), v, s[n]);
                s[n + 2] = fmaf(__uint_as_float(e ? low & 0xffff0000u : low << 16), v, s[n + 2]);
            }
        }
    }
    return make_float4(s[0], s[1], s[2], s[3]);
}
GPU_FN void gpu_75_mma_bf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
                            const float (&c)[4])
{
    const float4 s = gpu_75_bf16(make_uint4(a[0], a[1], a[2], a[3]), make_uint2(b[0], b[1]),
                                 make_float4(c[0], c[1], c[2], c[3]));
    d[0] = s.x, d[1] = s.y, d[2] = s.z, d[3] = s.w;
}

GPU_FN void gpu_75_copy16(void *smem, const void *gmem, int src_bytes)
{
    uint4 v = make_uint4(0, 0, 0, 0);
    if (src_bytes == 16)
        v = *static_cast<const uint4 *>(gmem);
    else
        for (int i = 0; i < src_bytes; i++)
            reinterpret_cast<uint8_t *>(&v)[i] = static_cast<const uint8_t *>(gmem)[i];
    *static_cast<uint4 *>(smem) = v;
}
GPU_FN void gpu_75_copy4(void *smem, const void *gmem, int src_bytes)
{
    uint32_t v = 0;
    if (src_bytes == 4)
        v = *static_cast<const uint32_t *>(gmem);
    else
        for (int i = 0; i < src_bytes; i++)
            v |= static_cast<uint32_t>(static_cast<const uint8_t *>(gmem)[i]) << 8 * i;
    *static_cast<uint32_t *>(smem) = v;
}

#endif
