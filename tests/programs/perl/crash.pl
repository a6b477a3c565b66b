kill 'SEGV', $$;
