/*-------------------------------------------------------------------------
 *
 * preset.c
 *	  Named documents.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"

#include "base/arguments.h"
#include "base/compat.h"
#include "model/preset.h"
#include "model/raw_key_filter.h"

#define PRESET_NAME_MAX_BYTES	63

/* Returns the document of the preset with this name, as jsonb.  Raises 22023. */
Datum
preset_find(const Preset *presets, int npresets, Datum preset_name)
{
	StringInfoData known;
	text	   *name;

	Assert(npresets > 0);
	check_size("preset", preset_name, PRESET_NAME_MAX_BYTES);
	name = DatumGetTextPP(preset_name);

	initStringInfo(&known);
	for (int i = 0; i < npresets; i++)
	{
		const char *preset = presets[i].name;

		if (VARSIZE_ANY_EXHDR(name) == strlen(preset) &&
			memcmp(VARDATA_ANY(name), preset, strlen(preset)) == 0)
			return DirectFunctionCall1(jsonb_in, CStringGetDatum(presets[i].document));
		appendStringInfo(&known, "%s%s", i > 0 ? ", " : "", preset);
	}

	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unknown preset \"%s\"",
					raw_key_filter_quote(VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name),
										 QUOTE_MAX_BYTES)),
			 errhint("Presets are %s.", known.data)));
}
