/*-------------------------------------------------------------------------
 *
 * transaction_array.c
 *	  Arrays of what a transaction does when it ends.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "base/transaction_array.h"

/*
 * Returns an array, of which n elements are used, with space for one more; NULL
 * is one without elements.  It is in TopTransactionContext, and freed with that;
 * max is how many elements it has space for.
 */
void *
transaction_array_grow(void *array, int n, int *max, Size size)
{
	int			new_max = Max(16, 2 * *max);

	if (n < *max)
		return array;

	/* An error leaves both as they were. */
	array = array == NULL ? MemoryContextAlloc(TopTransactionContext, new_max * size)
						  : repalloc_huge(array, new_max * size);
	*max = new_max;
	return array;
}
