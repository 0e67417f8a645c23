/*-------------------------------------------------------------------------
 *
 * transaction_array.h
 *	  Arrays of what a transaction does when it ends.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_BASE_TRANSACTION_ARRAY_H
#define APIKEYS_BASE_TRANSACTION_ARRAY_H

extern void *transaction_array_grow(void *array, int n, int *max, Size size);

#endif							/* APIKEYS_BASE_TRANSACTION_ARRAY_H */
