/*
 * What merging would save: guests, their RAM, and what was found in it
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Data flows one way.  guest.c has a guest's process, ram.c finds its RAM.
 * reader.c reads those of its pages that are resident, which pagemap.c tells,
 * and gives their digests to digests.c.  tally.c counts pages that are alike,
 * and layout.c where they are.  census-text.c, census-json.c and census-plot.c
 * show that.
 */
#ifndef CENSUS_H
#define CENSUS_H

#include <stdio.h>

#include "host/processes.h"

/* What one huge page covers, and the engine splits or leaves whole. */
#define CENSUS_REGION_BYTES     (UINT64_C(2) << 20)
/* The engine's huge-split-threshold, unless it is set. */
#define CENSUS_THRESHOLD        32
/* A mapping is shown in so many parts of the same size. */
#define CENSUS_PARTS            64
/* Runs are counted by the powers of two that they reach. */
#define CENSUS_RUN_CLASSES      40
/* Smaller mappings are counted, and not shown by themselves: mostly ROMs. */
#define CENSUS_SHOWN_BYTES      (UINT64_C(1) << 20)

/* Who can merge a mapping.  Pages are alike only to those of the same pool. */
typedef enum CensusPool {
    CENSUS_PRIVATE,             /* anonymous memory: KSM */
    CENSUS_SHARED,              /* only ksmfs, were it there */
    CENSUS_POOLS,
    /*
     * Nobody: hugetlb.  Not qemu-ksm: private memory of a file, where KSM by
     * itself merges what the guest has written.  None of it is read.
     */
    CENSUS_NEITHER = CENSUS_POOLS
} CensusPool;

/* What is known of a resident page. */
enum {
    CENSUS_TWIN = 1,            /* another page is like it, or it is zero */
    CENSUS_HUGE = 2,            /* a huge page has it mapped */
    CENSUS_WHOLE = 4,           /* and the engine would not split that */
    CENSUS_ZERO = 8,
};

/* Of guest RAM: mappings without a gap between them, of one pool. */
typedef struct CensusMapping {
    unsigned guest;             /* its number */
    CensusPool pool;
    uint64_t start;
    uint64_t pages;
    uint64_t twins;
    uint64_t parts[CENSUS_PARTS];   /* twins in each, see layout.h */
    /* CENSUS_*, a byte a page; NULL in CENSUS_NEITHER, or of a lost guest. */
    uint8_t *marks;
} CensusMapping;

/*
 * Pages that merging saves.  Of n equal ones that is n - 1: with zeros all
 * are zero; else n_i - 1 within each guest, of its n_i, and one less than there
 * are guests between them.
 */
typedef struct CensusSavings {
    uint64_t zero;
    uint64_t within;
    uint64_t between;
    uint64_t merged;            /* those that are saved already */
} CensusSavings;

/* A guest's equal share in them. */
typedef struct CensusShare {
    uint64_t resident;          /* pages that were read */
    double zero;
    double within;
    double between;
} CensusShare;

typedef struct CensusGuest {
    KsmProcess *process;
    char *path;                 /* of its directory in /proc */
    int directory;              /* that; -1: it isn't open */
    CensusShare shares[CENSUS_POOLS];
    GArray *zero_frames[CENSUS_POOLS];  /* uint64_t, of each CENSUS_ZERO */
    uint64_t swapped_bytes;
    uint64_t huge_bytes;        /* mapped as transparent huge pages */
    uint64_t neither_bytes;     /* resident ones of CENSUS_NEITHER */
    uint64_t zero_mapped;       /* pages that are the kernel's page of zeros */
    uint64_t unreadable;        /* pages with an error, or just unmapped */
    bool lost;                  /* it has ended meanwhile: it doesn't count */
} CensusGuest;

/* Runs of twins, in the order of addresses. */
typedef struct CensusRuns {
    uint64_t count;
    uint64_t pages;
    uint64_t median;
    /* Those of 2^i to 2^(i+1) - 1 pages. */
    uint64_t runs_of[CENSUS_RUN_CLASSES];
    uint64_t pages_of[CENSUS_RUN_CLASSES];
} CensusRuns;

/* What was found in a pool. */
typedef struct CensusFigures {
    uint64_t resident;
    bool merged_known;          /* not without the right to see page frames */
    bool huge_known;            /* and so what the engine saves */
    CensusSavings savings;
    /* The same where the engine leaves some huge pages whole. */
    CensusSavings engine_savings;
    uint64_t huge_pages;
    uint64_t huge_pages_whole;
    CensusRuns runs;
} CensusFigures;

typedef struct Census {
    GPtrArray *guests;          /* CensusGuest, each process once */
    GPtrArray *mappings;        /* CensusMapping, by guest and address */
    CensusFigures figures[CENSUS_POOLS];
    unsigned threshold;
    bool scanned;               /* huge pages and zero_mapped are known */
} Census;

uint64_t census_saved(const CensusSavings *savings);
/* The sum of a guest's shares in all pools. */
CensusShare census_guest_share(const CensusGuest *guest);
/* Whether there is anything in @pool. */
bool census_has_pool(const Census *census, CensusPool pool);

/* Each writes to stdout. */
void census_print_text(const Census *census);
void census_print_json(const Census *census);
/*
 * The file that a picture is to be in, before there are figures for it; the
 * caller closes it.  NULL: see @error; it can't be written, or there is no
 * gnuplot, which draws it.
 */
FILE *census_plot_open(const char *path, GError **error);
/* False: see @error. */
bool census_plot(const Census *census, FILE *file, GError **error);

#endif
