/*
 * A guest: what the kernel says of its process, and its engine of itself
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "guests.h"
#include "host/memory.h"

static void guest_free(KsmGuest *guest)
{
    ksm_process_free(guest->process);
    g_free(guest);
}

/* Owns @process then. */
static void guests_add(GPtrArray *guests, KsmProcess *process,
                       const KsmEngines *engines)
{
    KsmGuest *guest = g_new0(KsmGuest, 1);

    guest->process = process;
    guest->engine = ksm_engines_lookup(engines, process->pid);
    if (guest->engine) {
        guest->engine_state = guest->engine->state;
    } else if (!engines->fault) {
        guest->engine_state = "no engine";
    }
    g_ptr_array_add(guests, guest);
}

/* Of their processes nothing but that is known. */
static void guests_add_unseen(GPtrArray *guests, GHashTable *seen,
                              const KsmEngines *engines)
{
    guint i;

    for (i = 0; i < engines->list->len; i++) {
        KsmEngine *engine = g_ptr_array_index(engines->list, i);

        if (!g_hash_table_contains(seen, GINT_TO_POINTER(engine->pid))) {
            KsmProcess *process = g_new0(KsmProcess, 1);

            process->pid = engine->pid;
            guests_add(guests, process, engines);
        }
    }
}

static int guest_compare(gconstpointer a, gconstpointer b)
{
    pid_t one = ksm_guest_pid(*(KsmGuest *const *)a);
    pid_t other = ksm_guest_pid(*(KsmGuest *const *)b);

    return (one > other) - (one < other);
}

GPtrArray *ksm_guests_find(const KsmHost *host,
                           const KsmEngines *engines)
{
    GPtrArray *guests =
        g_ptr_array_new_with_free_func((GDestroyNotify)guest_free);
    GPtrArray *processes = ksm_processes_find(host->proc_root);
    g_autoptr(GHashTable) seen = g_hash_table_new(NULL, NULL);
    guint i;

    for (i = 0; i < processes->len; i++) {
        KsmProcess *process = g_ptr_array_index(processes, i);

        g_hash_table_add(seen, GINT_TO_POINTER(process->pid));
        guests_add(guests, process, engines);
    }
    /* The guests own them now. */
    g_ptr_array_set_free_func(processes, NULL);
    g_ptr_array_unref(processes);
    guests_add_unseen(guests, seen, engines);
    g_ptr_array_sort(guests, guest_compare);
    return guests;
}

static KsmFigure guest_figure(const KsmGuest *guest,
                              KsmEngineFigure which)
{
    return guest->engine ? guest->engine->figures[which] :
                           (KsmFigure) { false };
}

pid_t ksm_guest_pid(const KsmGuest *guest)
{
    return guest->process->pid;
}

const char *ksm_guest_name(const KsmGuest *guest)
{
    return guest->process->name || !guest->engine ? guest->process->name :
                                                    guest->engine->name;
}

const char *ksm_guest_limit(const KsmGuest *guest)
{
    return guest->engine ? guest->engine->limit : NULL;
}

KsmFigure ksm_guest_resident(const KsmGuest *guest)
{
    return (KsmFigure) { guest->process->resident_known,
                         guest->process->resident_kib * 1024 };
}

KsmFigure ksm_guest_ram(const KsmGuest *guest)
{
    return guest_figure(guest, KSM_ENGINE_RAM_BYTES);
}

KsmFigure ksm_guest_saved(const KsmGuest *guest)
{
    const KsmProcessMerging *merging = &guest->process->merging;
    KsmFigure ksmfs = guest_figure(guest, KSM_ENGINE_KSMFS_SHARING_PAGES);
    KsmFigure saved = { merging->known || ksmfs.known };

    /* What is not known is 0.  Older kernels count no zero pages apart. */
    saved.value = (merging->merging_pages + merging->zero_pages +
                   ksmfs.value) * ksm_page_size();
    return saved;
}

KsmFigure ksm_guest_profit(const KsmGuest *guest)
{
    return (KsmFigure) { guest->process->merging.profit_known,
                         guest->process->merging.profit_bytes };
}

KsmRate ksm_guest_cow_breaks(const KsmGuest *guest)
{
    return guest->engine ? guest->engine->cow_breaks_per_second :
                           (KsmRate) { false };
}

KsmRate ksm_guest_cpu(const KsmGuest *guest)
{
    return guest->engine ? guest->engine->cpu_percent :
                           (KsmRate) { false };
}
