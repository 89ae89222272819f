// nodemailer's smtp-server with a handler that drops every message: smtp_server.js drop [CERTIFICATE starttls|implicit]
'use strict';

const fs = require('fs');
const { SMTPServer } = require('smtp-server');

const [, , , certificate, tls] = process.argv;
const pem = certificate && fs.readFileSync(certificate);

const server = new SMTPServer({
    name: 'localhost',
    authOptional: true,
    disableReverseLookup: true, // the others do not ask the DNS either
    ...(pem ? { key: pem, cert: pem, secure: tls === 'implicit' } : { disabledCommands: ['AUTH', 'STARTTLS'] }),
    onData(stream, session, callback) {
        stream.on('end', callback);
        stream.resume();
    }
});
server.on('error', () => {}); // a client that has gone
server.listen(0, '127.0.0.1', () => console.log(server.server.address().port));
