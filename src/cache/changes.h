/*-------------------------------------------------------------------------
 *
 * changes.h
 *	  How often keys and plans have changed, counted in shared memory.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_CACHE_CHANGES_H
#define APIKEYS_CACHE_CHANGES_H

/* What a cached row depends on: see invalidation.h for the numbers. */
typedef enum RowNumber
{
	ROW_KEY,
	ROW_PLAN,
	ROW_PARENT,					/* the key it is derived from; the plan is that one's */
	ROW_NUMBERS
} RowNumber;

/* How often that had changed when the row was read. */
typedef struct RowStamp
{
	uint64		generation;
	Oid			numbers[ROW_NUMBERS]; /* InvalidOid: none */
	uint32		counts[ROW_NUMBERS];
} RowStamp;

extern void changes_init(void);
extern Size changes_size(void);
extern bool changes_are_counted(void);
extern void changes_count(Oid number);
extern void changes_count_everything(void);
extern void changes_begin_doubt(void);
extern void changes_end_doubt(void);

extern uint64 changes_position(void);
extern uint64 changes_generation(void);
extern bool changes_stamp(RowStamp *stamp, uint64 position);
extern bool changes_stamp_is_current(const RowStamp *stamp);

#endif							/* APIKEYS_CACHE_CHANGES_H */
