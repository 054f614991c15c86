# Written by docs/make_completion.py from the commands' own options.
function __numa_align_command
    set -l words (commandline -opc)
    test (count $words) -ge 2; and test $words[2] = $argv[1]
end

function __numa_align_none
    test (count (commandline -opc)) -eq 1
end

# The number of the word that run starts, if it is there.
function __numa_align_run
    set -l words (commandline -opc)
    __numa_align_command run; or return 1
    set -l at 3
    while test $at -le (count $words)
        switch $words[$at]
            case --
                test $at -lt (count $words); or return 1
                echo (math $at + 1)
                return 0
            case --gpus --numa-align --local-rank --local-world-size --room
                set at (math $at + 1)
            case '-*'
            case '*'
                echo $at
                return 0
        end
        set at (math $at + 1)
    end
    return 1
end

function __numa_align_run_arguments
    set -l at (__numa_align_run); or return
    set -l words (commandline -opc) (commandline -ct)
    complete -C (string join ' ' -- (string escape -- $words[$at..-1]))
end

function __numa_align_spec
    set -l token (string replace -r '^--[^=]*=' '' -- (commandline -ct))
    set -l before (string match -r '.*,' -- $token)
    for word in on off strict verbose nic help mem=preferred mem=bind mem=interleave mem=local mem=none mem=interleave-all cpus=slice cpus=fair cpus=node cpus=all smt=on smt=off tell=on tell=off nic=on nic=off steps=gpus steps=all
        echo "$before$word"
    end
end

complete -c numa-align -f
complete -c numa-align -n __numa_align_none -s h -l help -d 'Show this message and exit'
complete -c numa-align -n __numa_align_none -l version -d 'Show the version and exit'
complete -c numa-align -n __numa_align_none -a topo -d 'Show the NUMA nodes and GPUs of this machine'
complete -c numa-align -n '__numa_align_command topo' -l root -x -a '(__fish_complete_directories (commandline -ct))' -d 'Directory to take for / (a recorded machine)'
complete -c numa-align -n '__numa_align_command topo' -l node-name -x -d 'Slurm\'s name of this node'
complete -c numa-align -n '__numa_align_command topo' -l json -d 'Print JSON'
complete -c numa-align -n '__numa_align_command topo' -l override -r -F -d 'The site\'s override file'
complete -c numa-align -n '__numa_align_command topo' -l gres-conf -r -F -d 'Slurm\'s gres.conf'
complete -c numa-align -n '__numa_align_command topo' -l svg -r -F -d 'Draw the machine into this file instead'
complete -c numa-align -n '__numa_align_command topo' -s h -l help -d 'Show this message and exit'
complete -c numa-align -n __numa_align_none -a plan -d 'Show what a step would do, without Slurm'
complete -c numa-align -n '__numa_align_command plan' -l root -x -a '(__fish_complete_directories (commandline -ct))' -d 'Directory to take for / (a recorded machine)'
complete -c numa-align -n '__numa_align_command plan' -l node-name -x -d 'Slurm\'s name of this node'
complete -c numa-align -n '__numa_align_command plan' -s n -l tasks -x -d 'Tasks on this node'
complete -c numa-align -n '__numa_align_command plan' -l gpus -x -d 'The step\'s GPUs'
complete -c numa-align -n '__numa_align_command plan' -l no-gpus -d 'A step without GPUs'
complete -c numa-align -n '__numa_align_command plan' -l cpus -x -d 'The step\'s CPUs, as in 0-3,8'
complete -c numa-align -n '__numa_align_command plan' -l visible -x -a 'all each closest' -d 'GPUs that a task sees'
complete -c numa-align -n '__numa_align_command plan' -l slurm-version -x -d 'Slurm\'s release, such as 22.05, which decides how tasks are told apart'
complete -c numa-align -n '__numa_align_command plan' -l numa-align -x -a '(__numa_align_spec)' -d 'Words of srun --numa-align=SPEC, with commas between them'
complete -c numa-align -n '__numa_align_command plan' -l json -d 'Print JSON'
complete -c numa-align -n '__numa_align_command plan' -l svg -r -F -d 'Draw the plan into this file instead'
complete -c numa-align -n '__numa_align_command plan' -s h -l help -d 'Show this message and exit'
complete -c numa-align -n __numa_align_none -a run -d 'Run a command near its GPUs, without the plugin'
complete -c numa-align -n '__numa_align_command run; and not __numa_align_run >/dev/null' -l gpus -x -d 'GPUs'
complete -c numa-align -n '__numa_align_command run; and not __numa_align_run >/dev/null' -l numa-align -x -a '(__numa_align_spec)' -d 'Words of srun --numa-align=SPEC, with commas between them'
complete -c numa-align -n '__numa_align_command run; and not __numa_align_run >/dev/null' -l local-rank -x -d 'Number of this worker'
complete -c numa-align -n '__numa_align_command run; and not __numa_align_run >/dev/null' -l local-world-size -x -d 'Workers of the task on this node'
complete -c numa-align -n '__numa_align_command run; and not __numa_align_run >/dev/null' -l threads -d 'Set OMP_NUM_THREADS to the number of its cores, if it is not set or torchrun has set it to 1'
complete -c numa-align -n '__numa_align_command run; and not __numa_align_run >/dev/null' -l leave-visible -d 'With --gpus'
complete -c numa-align -n '__numa_align_command run; and not __numa_align_run >/dev/null' -l room -x -d 'First drop page cache on the nodes of its GPUs, until SIZE (8G) or its share (auto) is free'
complete -c numa-align -n '__numa_align_command run; and not __numa_align_run >/dev/null' -l json -d 'Print what was bound as a line of JSON on stderr'
complete -c numa-align -n '__numa_align_command run; and not __numa_align_run >/dev/null' -s h -l help -d 'Show this message and exit'
complete -c numa-align -n '__numa_align_command run; and not __numa_align_run >/dev/null' -a '(__fish_complete_command)'
complete -c numa-align -n '__numa_align_run >/dev/null' -a '(__numa_align_run_arguments)'
complete -c numa-align -n __numa_align_none -a show -d 'Print the binding as options of numactl, docker, Kubernetes and others'
complete -c numa-align -n '__numa_align_command show' -l gpus -x -d 'GPUs'
complete -c numa-align -n '__numa_align_command show' -l as -x -a 'numactl taskset docker podman compose apptainer enroot cdi kubernetes kubernetes-dra systemd env nccl-topo' -d 'The tool to write for'
complete -c numa-align -n '__numa_align_command show' -l numa-align -x -a '(__numa_align_spec)' -d 'Words of srun --numa-align=SPEC, with commas between them'
complete -c numa-align -n '__numa_align_command show' -l cpus -x -d 'Use only N whole cores of the share'
complete -c numa-align -n '__numa_align_command show' -l memory -d 'Also set a memory limit'
complete -c numa-align -n '__numa_align_command show' -l root -x -a '(__fish_complete_directories (commandline -ct))' -d 'Directory to take for / (a recorded machine)'
complete -c numa-align -n '__numa_align_command show' -l node-name -x -d 'Slurm\'s name of this node'
complete -c numa-align -n '__numa_align_command show' -l json -d 'Print JSON'
complete -c numa-align -n '__numa_align_command show' -s h -l help -d 'Show this message and exit'
complete -c numa-align -n __numa_align_none -a gpus -d 'Find the GPUs of this node that sit best together'
complete -c numa-align -n '__numa_align_command gpus' -l root -x -a '(__fish_complete_directories (commandline -ct))' -d 'Directory to take for / (a recorded machine)'
complete -c numa-align -n '__numa_align_command gpus' -l node-name -x -d 'Slurm\'s name of this node'
complete -c numa-align -n '__numa_align_command gpus' -l json -d 'Print JSON'
complete -c numa-align -n '__numa_align_command gpus' -s h -l help -d 'Show this message and exit'
complete -c numa-align -n __numa_align_none -a check -d 'Check whether this task is aligned, as the kernel reports it'
complete -c numa-align -n '__numa_align_command check' -l pid -x -d 'Check this process instead of this command'
complete -c numa-align -n '__numa_align_command check' -l json -d 'Print JSON, one object per task'
complete -c numa-align -n '__numa_align_command check' -l no-total -d 'Do not wait for the other tasks of the step, and print no total'
complete -c numa-align -n '__numa_align_command check' -l gather -x -a '(__fish_complete_directories (commandline -ct))' -d 'Count the tasks of all nodes of the step, through a folder that all nodes can see'
complete -c numa-align -n '__numa_align_command check' -s h -l help -d 'Show this message and exit'
complete -c numa-align -n __numa_align_none -a job -d 'Show where a running job\'s processes, threads and pages are'
complete -c numa-align -n '__numa_align_command job' -l pid -x -d 'Show this process and its children instead of a job'
complete -c numa-align -n '__numa_align_command job' -l watch -d 'Refresh until interrupted'
complete -c numa-align -n '__numa_align_command job' -l interval -x -d 'Seconds between refreshes'
complete -c numa-align -n '__numa_align_command job' -l all-nodes -d 'Ask on every node of the job, through srun --overlap'
complete -c numa-align -n '__numa_align_command job' -l threads -d 'One line per thread'
complete -c numa-align -n '__numa_align_command job' -l fix -d 'First bind your own processes to the CPUs near their GPUs, each GPU with its share'
complete -c numa-align -n '__numa_align_command job' -l move-pages -d 'With --fix'
complete -c numa-align -n '__numa_align_command job' -l svg -r -F -d 'Also draw the processes on the machine'
complete -c numa-align -n '__numa_align_command job' -l json -d 'Print JSON'
complete -c numa-align -n '__numa_align_command job' -s h -l help -d 'Show this message and exit'
complete -c numa-align -n __numa_align_none -a audit -d 'Show how well all running jobs are placed'
complete -c numa-align -n '__numa_align_command audit' -l tasks -d 'Show one row per task instead of one per job'
complete -c numa-align -n '__numa_align_command audit' -l all -d 'Ask all nodes of the cluster that have GPUs'
complete -c numa-align -n '__numa_align_command audit' -l from -r -F -d 'Merge samples from these files, or folders of *.json files, that --json printed elsewhere'
complete -c numa-align -n '__numa_align_command audit' -l metrics -r -F -d 'Write metrics for Prometheus'
complete -c numa-align -n '__numa_align_command audit' -l log -r -F -d 'Append the sample to this file'
complete -c numa-align -n '__numa_align_command audit' -l no-names -d 'Leave out users\' names'
complete -c numa-align -n '__numa_align_command audit' -l memory-budget -x -d 'Resident memory whose location is looked up in one sample'
complete -c numa-align -n '__numa_align_command audit' -l json -d 'Print JSON'
complete -c numa-align -n '__numa_align_command audit' -s h -l help -d 'Show this message and exit'
complete -c numa-align -n __numa_align_none -a report -d 'Sum up GPU hours by state from logged samples'
complete -c numa-align -n '__numa_align_command report' -l days -x -d 'How many days back to look'
complete -c numa-align -n '__numa_align_command report' -l worst -x -d 'How many jobs to name'
complete -c numa-align -n '__numa_align_command report' -l html -r -F -d 'Write one page of HTML'
complete -c numa-align -n '__numa_align_command report' -l bench -r -F -d 'Estimate the maximum loss from this output of `numa-align bench --json` on one of your nodes'
complete -c numa-align -n '__numa_align_command report' -l json -d 'Print JSON'
complete -c numa-align -n '__numa_align_command report' -s h -l help -d 'Show this message and exit'
complete -c numa-align -n '__numa_align_command report' -F
complete -c numa-align -n __numa_align_none -a bench -d 'Measure memory and copies, near and far'
complete -c numa-align -n '__numa_align_command bench' -l quick -d 'Use small buffers'
complete -c numa-align -n '__numa_align_command bench' -l no-gpus -d 'Leave out the GPUs'
complete -c numa-align -n '__numa_align_command bench' -l no-nics -d 'Leave out the network cards'
complete -c numa-align -n '__numa_align_command bench' -l toolkit -x -a 'torch cupy' -d 'Toolkit for the GPUs'
complete -c numa-align -n '__numa_align_command bench' -l plot -r -F -d 'Draw a heat map (PNG, PDF or SVG)'
complete -c numa-align -n '__numa_align_command bench' -l json -d 'Print JSON'
complete -c numa-align -n '__numa_align_command bench' -s h -l help -d 'Show this message and exit'
complete -c numa-align -n __numa_align_none -a conf -d 'Print Slurm\'s configuration for these nodes'
complete -c numa-align -n '__numa_align_command conf' -l slurm-version -x -d 'Slurm\'s version'
complete -c numa-align -n '__numa_align_command conf' -l root -x -a '(__fish_complete_directories (commandline -ct))' -d 'Directory to take for / (a recorded machine)'
complete -c numa-align -n '__numa_align_command conf' -l facts -r -F -d 'Files written by `numa-align topo --json`, one per node, or a folder of them'
complete -c numa-align -n '__numa_align_command conf' -l node -x -d 'Name of this node, or nodes of --facts to choose'
complete -c numa-align -n '__numa_align_command conf' -l diff -r -F -d 'Show what would change in this file'
complete -c numa-align -n '__numa_align_command conf' -l defaults -x -d 'The site\'s words for plugstack.conf, such as `on mem=bind`'
complete -c numa-align -n '__numa_align_command conf' -l prefix -x -a '(__fish_complete_directories (commandline -ct))' -d 'Where numa-align is installed'
complete -c numa-align -n '__numa_align_command conf' -l json -d 'Print the text in JSON'
complete -c numa-align -n '__numa_align_command conf' -s h -l help -d 'Show this message and exit'
complete -c numa-align -n '__numa_align_command conf' -x -a 'gres slurm cgroup plugstack lua all'
complete -c numa-align -n __numa_align_none -a doctor -d 'Check Slurm\'s configuration and this node'
complete -c numa-align -n '__numa_align_command doctor' -l json -d 'Print JSON'
complete -c numa-align -n '__numa_align_command doctor' -s q -l quiet -d 'Show only findings that are not ok'
complete -c numa-align -n '__numa_align_command doctor' -l root -x -a '(__fish_complete_directories (commandline -ct))' -d 'Directory to take for / (a recorded machine)'
complete -c numa-align -n '__numa_align_command doctor' -l node-name -x -d 'Slurm\'s name of this node'
complete -c numa-align -n '__numa_align_command doctor' -l slurm-conf -r -F -d 'slurm.conf'
complete -c numa-align -n '__numa_align_command doctor' -l slurm-version -x -d 'Slurm\'s version'
complete -c numa-align -n '__numa_align_command doctor' -s h -l help -d 'Show this message and exit'
