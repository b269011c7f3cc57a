/* linear_fp4.cuh - where the numbers of rows in e2m1 and the scales of their blocks lie.
 *
 * A piece is 8 rows x 64 columns as m16n8k64 wants its right operand: lane 4 g + t has columns
 * 8 t ... 8 t + 7 of row g, then those 32 on, eight codes a word, the first lowest; then one word a
 * row, the scales of its blocks, the first lowest: four of NVFP4, two of MXFP4 in the low half. */
#ifndef KERNELS_CUDA_LINEAR_FP4_CUH
#define KERNELS_CUDA_LINEAR_FP4_CUH

#include "kernels/cuda/linear.cuh"

extern "C" {
#include "kernels/quant/fp4_rows.h"
}

enum { FP4_PIECE_SCALES = 256, FP4_PIECE = FP4_PIECE_SCALES + 32 };
/* cuBLASLt's tile of scales: 128 rows by 4 blocks. */
enum { FP4_TILE_ROWS = 128, FP4_TILE_BLOCKS = 4, FP4_TILE = FP4_TILE_ROWS * FP4_TILE_BLOCKS };

/* Byte of columns k ... k + 3 of a row in pieces, [chunks][m_tiles]. */
GPU_FN int64_t fp4_piece_at(int64_t row, int64_t k, int64_t m_tiles)
{
    return (k / 64 * m_tiles + row / 8) * FP4_PIECE + row % 8 * 32 + k % 32 / 8 * 8 +
           k % 64 / 32 * 4 + k % 8 / 2;
}

/* Byte of the scale of a row's block in cuBLASLt's layout, rows of `blocks` of them, a multiple of
 * FP4_TILE_BLOCKS (cuBLAS, "1D Block Scaling Factors Layout"). */
GPU_BOTH int64_t fp4_scale_at(int64_t row, int64_t block, int64_t blocks)
{
    const int64_t tile = row / FP4_TILE_ROWS * (blocks / FP4_TILE_BLOCKS) + block / FP4_TILE_BLOCKS;
    return tile * FP4_TILE + row % 32 * 16 + row % FP4_TILE_ROWS / 32 * 4 + block % FP4_TILE_BLOCKS;
}

#endif
