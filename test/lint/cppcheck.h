/*
 * What cppcheck needs to know of PostgreSQL, whose headers it does not read:
 * a version, that ereport(ERROR) does not return, and what is no function.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#define PG_VERSION_NUM 150000
#define ERROR 21
#define ereport(level, rest) \
	do { (void) (rest); if ((level) >= ERROR) abort(); } while (0)
#define elog(level, ...) \
	do { (void) (__VA_ARGS__); if ((level) >= ERROR) abort(); } while (0)
#define Assert(condition) do { if (!(condition)) abort(); } while (0)
#define PG_MODULE_MAGIC extern int pg_module_magic
#define PG_FUNCTION_INFO_V1(function) extern int pg_finfo_##function
#define foreach(cell, list) for (cell = list_head(list); cell; cell = cell->next)
