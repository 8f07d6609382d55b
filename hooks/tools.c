/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "hooks/tools.h"

#include "xslt/admin.h"
#include "xslt/connection.h"
#include "xslt/facts-connection.h"

struct DkvmTools {
    gatomicrefcount users;
    DkvmSettings *settings;
    DkvmFacts *facts;
    GPtrArray *admin;
    GMutex lock;
    GPtrArray *idle; /* DkvmPatcher* */
};

static void patcher_free(gpointer data)
{
    dkvm_patcher_free(data);
}

DkvmTools *dkvm_tools_new(virConnectPtr conn, GError **error)
{
    g_autoptr(DkvmTools) tools = g_new0(DkvmTools, 1);
    g_atomic_ref_count_init(&tools->users);
    g_mutex_init(&tools->lock);
    tools->idle = g_ptr_array_new_with_free_func(patcher_free);
    tools->settings = dkvm_settings_get();
    tools->facts = dkvm_facts_connection(conn, error);
    if (tools->facts == NULL) {
        return NULL;
    }
    if (!dkvm_connection_is_session(conn)) {
        tools->admin = dkvm_admin_stylesheets(error);
        if (tools->admin == NULL) {
            return NULL;
        }
    }
    /* Made now, so that the first domain does not wait for it, and errors are known early. */
    DkvmPatcher *first = dkvm_tools_borrow(tools, error);
    if (first == NULL) {
        return NULL;
    }
    dkvm_tools_give_back(tools, first);
    return g_steal_pointer(&tools);
}

DkvmTools *dkvm_tools_ref(DkvmTools *tools)
{
    g_atomic_ref_count_inc(&tools->users);
    return tools;
}

void dkvm_tools_unref(DkvmTools *tools)
{
    if (!g_atomic_ref_count_dec(&tools->users)) {
        return;
    }
    g_ptr_array_unref(tools->idle);
    g_mutex_clear(&tools->lock);
    g_clear_pointer(&tools->admin, g_ptr_array_unref);
    g_clear_pointer(&tools->facts, dkvm_facts_free);
    g_clear_pointer(&tools->settings, dkvm_settings_unref);
    g_free(tools);
}

const DkvmConfig *dkvm_tools_config(const DkvmTools *tools)
{
    return tools->settings->config;
}

const DkvmFacts *dkvm_tools_facts(const DkvmTools *tools)
{
    return tools->facts;
}

DkvmPatcher *dkvm_tools_borrow(DkvmTools *tools, GError **error)
{
    const DkvmConfig *config = dkvm_tools_config(tools);
    DkvmPatcher *patcher = NULL;
    g_mutex_lock(&tools->lock);
    if (tools->idle->len > 0) {
        patcher = g_ptr_array_steal_index_fast(tools->idle, tools->idle->len - 1);
    }
    g_mutex_unlock(&tools->lock);
    return patcher
               ? patcher
               : dkvm_patcher_new(tools->facts, config->osk, config->model, tools->admin, error);
}

void dkvm_tools_give_back(DkvmTools *tools, DkvmPatcher *patcher)
{
    g_mutex_lock(&tools->lock);
    g_ptr_array_add(tools->idle, patcher);
    g_mutex_unlock(&tools->lock);
}
