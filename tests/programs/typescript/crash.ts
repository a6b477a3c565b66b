declare const process: any;
process.kill(process.pid, 'SIGSEGV');
setTimeout(() => {}, 60000);
