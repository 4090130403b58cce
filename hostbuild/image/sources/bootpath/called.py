"""What the daemon calls until its first modprobe has been started: made by `make boot-calls`, in a guest.

Module -> the qualified names of its functions, without those that importing the modules calls. What is not here is read
later (putoff.py).
"""

CALLED = {
    "modaliasd.cli": "_has_failed _run main",
    "modaliasd.core.device": "Device.__new__",
    "modaliasd.core.fasttypes": "NamedTuple._asdict NamedTuple._replace",
    "modaliasd.core.index.format": "read_header tables text_at",
    "modaliasd.core.index.lookup": "Index.__init__ Index.lookup _ranker",
    "modaliasd.core.index.search": "_needles searcher",
    "modaliasd.core.index.tails": "compile_tail rarest_of",
    "modaliasd.core.inventory": (
        "Arrivals.__init__ Inventory.__init__ Inventory.find Inventory.see InventoryEntry.__init__"
    ),
    "modaliasd.core.kmod.glob": "is_wildcard",
    "modaliasd.core.kmod.invocation": "Invocation.__new__ _finds_options invocation",
    "modaliasd.core.kmod.modprobe_d": (
        "Configuration.__new__ OptionsLine.__new__ _Lists.__init__ _Lists.configuration _requoted "
        "counting_files join parse_command_line parse_modprobe_d topic_of"
    ),
    "modaliasd.core.kmod.modules_dep": (
        "Dependencies.__init__ Dependencies._cycle Dependencies._file_at Dependencies._load_order "
        "Dependencies._search Dependencies.find Dependencies.load_order LoadOrder.__new__ "
        "ModuleFile.__new__ Softdep.__new__ configuration_lines parse_builtin parse_dep_line "
        "parse_softdeps softdep"
    ),
    "modaliasd.core.kmod.names": "module_name text_of underscored",
    "modaliasd.core.kmod.plan": "Match.__new__ Match.fields Plan.__new__ Step.__new__",
    "modaliasd.core.kmod.resolve": (
        "Resolver.__init__ Resolver._denial Resolver._find_in_tree Resolver._resolve "
        "Resolver._resolve_each Resolver._softdep_lines Resolver.find Resolver.has_softdeps "
        "Resolver.install_command Resolver.options Resolver.renew Resolver.resolve "
        "Resolver.softdeps Resolver.step _Work.__init__ _Work._append _Work._is_blocked "
        "_Work._is_broken _Work._needs _Work._with_dependencies _Work._with_softdeps _Work.add "
        "_Work.plan _once"
    ),
    "modaliasd.core.ledger.write": "_quote device_fields line to_json",
    "modaliasd.core.loading.cause": "Cause.__new__ Cause.by",
    "modaliasd.core.loading.demand": "Demand.__new__ demands_of_plan needs_of_plan",
    "modaliasd.core.loading.load": "Job.__new__ Load.__init__ Load.add_cause Load.before Needs.__new__",
    "modaliasd.core.loading.priority": "niceness rank_of rank_of_device",
    "modaliasd.core.loading.scheduler": (
        "Scheduler.__init__ Scheduler._admit Scheduler._begin Scheduler._blocked "
        "Scheduler._is_current Scheduler._passes Scheduler._push Scheduler._stands_behind "
        "Scheduler.break_ring Scheduler.load_of Scheduler.next_job Scheduler.request"
    ),
    "modaliasd.core.settings": "Settings.__new__ _device next_args parse_settings split_words",
    "modaliasd.core.settlement": "Settlement.__init__ Settlement._take Settlement.happened",
    "modaliasd.core.uevent.parse": "_modaliases device_from_env parse_uevent_file",
    "modaliasd.linux.bootstate": "_exists _is_closed _read _read_file _write count_life phase",
    "modaliasd.linux.channel": "Channel.__init__ Channel.fileno Channel.send _make_raw open_if_there",
    "modaliasd.linux.config": "config_files read_bytes read_command_line read_config read_text",
    "modaliasd.linux.descriptors": "close_file keep_reserve list_directory open_file",
    "modaliasd.linux.indexfile": (
        "AliasIndex.__init__ AliasIndex._note AliasIndex._open AliasIndex._path "
        "AliasIndex._read_good AliasIndex.lookup _Stamp.__new__ _read_index _size _stamp open_index"
    ),
    "modaliasd.linux.kmsg": "KernelLog.__init__",
    "modaliasd.linux.ledger": (
        "Ledger.__init__ Ledger._look_after Ledger._send Ledger.append Ledger.channel_fileno "
        "Ledger.flush Ledger.size Ledger.torn_bytes"
    ),
    "modaliasd.linux.ledger_file": (
        "LedgerFile.__init__ LedgerFile._repair LedgerFile.change LedgerFile.open LedgerFile.read "
        "LedgerFile.write _identity _make_directories"
    ),
    "modaliasd.linux.lock": "_make_directory _open acquire",
    "modaliasd.linux.module_tables": "_read find_hash_drivers open_resolver",
    "modaliasd.linux.netlink": "UeventSocket.__init__ UeventSocket.drops UeventSocket.fileno subscribe",
    "modaliasd.linux.process": "Child.__new__ _write_score give_way is_safe_name spare_self start",
    "modaliasd.linux.procmodules": "_place file_size read_live_modules",
    "modaliasd.linux.sysfs": (
        "Sysfs.__init__ Sysfs._complete Sysfs._linked Sysfs._places Sysfs._uevent "
        "Sysfs.driver_module Sysfs.require Sysfs.uevent_seqnum Sysfs.walk _name_of_link _names "
        "_read"
    ),
    "modaliasd.service.assembly": "assemble",
    "modaliasd.service.boot": (
        "_default_job_limit _flavour _missing_modules _settled_hook boottime_us ranks_of read_policy serve"
    ),
    "modaliasd.service.coldplug": "Walker.__init__ Walker._begin Walker.first Walker.request Walker.walk_on",
    "modaliasd.service.devices": "Registry.__init__ Registry._want_modules Registry.see Registry.tell_of_index",
    "modaliasd.service.gate": "Gate.__init__ Gate.court Gate.judge Gate.unloads_any Gate.write_mistakes",
    "modaliasd.service.ledger_care": "LedgerCare.__init__",
    "modaliasd.service.loads.jobs": "Jobs.__init__ Jobs._share_out Jobs.start Running.__init__",
    "modaliasd.service.loads.loader": (
        "Loader.__init__ Loader._needs_of Loader._size_of Loader._start_up_to Loader._want_step "
        "Loader.start_jobs Loader.want"
    ),
    "modaliasd.service.loads.tools": "Tools.__new__ Tools.is_single Tools.program",
    "modaliasd.service.loop": (
        "Service.__init__ Service._first_turn Service._start_jobs Service._tell_lacking "
        "Service.begin Service.run"
    ),
    "modaliasd.service.writer": "LedgerWriter.__init__ LedgerWriter.append LedgerWriter.write",
}
