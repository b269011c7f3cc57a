/* median.h - the middle of some figures. */
#ifndef KERNELS_BASE_MEDIAN_H
#define KERNELS_BASE_MEDIAN_H

/* Sorts v [n], n > 0, ascending; of an even number the mean of the two in the middle. */
double median_of(double *v, int n);

#endif
