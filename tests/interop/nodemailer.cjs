// Sends one message as it is: node nodemailer.cjs OPTIONS FILE, where OPTIONS is the JSON of the transport.
const [options, file] = process.argv.slice(2);
require("nodemailer")
  .createTransport(JSON.parse(options))
  .sendMail({
    envelope: { from: "sender@example.com", to: ["demo@example.com"] },
    raw: require("fs").readFileSync(file),
  })
  .catch((error) => {
    console.error(error.message);
    process.exit(1);
  });
